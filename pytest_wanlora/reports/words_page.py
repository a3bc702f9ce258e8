"""The phrases of the pages: headings, columns, sentences."""

from __future__ import annotations

from enum import Enum

from pytest_wanlora.phrases import Language, Phrase


class Page(Enum):
    """Every phrase of a page that is not looked up by a verdict, an outcome, a metric or a step."""

    def say(self, language: Language, **fields: object) -> str:
        """See `Phrase.say`."""
        return self.value.say(language, **fields)

    CUT = Phrase("… ({more} characters more in results.json)", "… (이하 {more}자 생략, results.json 참고)")
    SUMMED = Phrase("{time} (summed over the workers)", "{time}(작업 프로세스 합계)")
    LONG_COMMAND = Phrase(
        "The command is too long to be shown here ({length} characters).",
        "명령이 너무 길어({length}자) 표시하지 않았습니다.",
    )
    NONE = Phrase("-", "-")

    # the verdict
    TITLE = Phrase("LoRA gate report: {name}", "LoRA 추론 결과 비교 분석: {name}")
    SEVERAL = Phrase("{count} checkpoints", "체크포인트 {count}개")
    MAY = Phrase("{name} may be published.", "{name}: 배포 가능")
    MAY_NOT = Phrase("{name} may not be published.", "{name}: 배포 불가")
    NONE_FAILS = Phrase(
        "No check fails: {passing} of {expected} pass; warnings: {warnings}.",
        "실패한 검사 항목이 없습니다. {expected}개 중 {passing}개 통과, {warnings}개 주의.",
    )
    ALL_PASS = Phrase("All {expected} checks pass", "검사 항목 {expected}개를 모두 통과했습니다")
    FAILING = Phrase(
        "Fails: {failing} of {expected} checks", "검사 항목 {expected}개 중 {failing}개가 실패했습니다"
    )
    WHERE = Phrase(" ({where})", "({where})")
    WARNING = Phrase("Warnings: {warnings}.", "주의: {warnings}개.")
    UNDECIDED_ITEMS = Phrase(
        "Undecided, which stops it too: {undecided} of {expected} checks, neither a pass nor a proven loss.",
        "검사 항목 {expected}개 중 {undecided}개는 통과도 실패도 입증되지 않아 판정을 보류합니다.",
    )
    UNMEASURED = Phrase(
        "Not measured, which is not passed: {unmeasured} of {expected} checks.",
        "검사 항목 {expected}개 중 {unmeasured}개를 측정하지 못했습니다. 측정하지 않은 항목은 통과로 보지 "
        "않습니다.",
    )
    PARTIAL = Phrase(
        "This was a partial run, which publishes nothing.",
        "부분 실행 결과이므로 이것만으로는 배포할 수 없습니다.",
    )
    TESTS_FAIL = Phrase(
        "Project tests that did not pass: {failed} of {tests}.",
        "프로젝트 테스트 {tests}개 중 {failed}개가 통과하지 못했습니다.",
    )
    TESTS_PASS = Phrase(
        "Project tests that pass: all of {tests}.", "프로젝트 테스트 {tests}개도 모두 통과했습니다."
    )
    RUN_FAILED = Phrase(
        "The pytest run ended with exit code {exit_status}.",
        "pytest 실행이 종료 코드 {exit_status}번으로 끝났습니다.",
    )
    OTHERS_FAILED = Phrase(
        "Other tests that failed: {count}, the first {first}.",
        "그 밖에 실패한 테스트는 {count}개입니다(첫 테스트: {first}).",
    )
    LEFT_OUT = Phrase(
        "{name}: left out: {count} of {expected} items, the first {first}: {why}",
        "{name}: 항목 {expected}개 중 {count}개 누락, 첫 항목 {first}: {why}",
    )

    # project tests
    TESTS = Phrase("Project tests", "프로젝트 테스트")
    TESTS_NOTE = Phrase(
        "Tests of this project that use a wanlora fixture. One that does not pass keeps its checkpoint from "
        "being published.",
        "wanlora 픽스처를 사용하는 이 프로젝트의 테스트입니다. 통과하지 못한 테스트가 있으면 해당 "
        "체크포인트를 배포할 수 없습니다.",
    )
    TEST = Phrase("test", "테스트")
    EVERY_CHECKPOINT = Phrase("every checkpoint", "모든 체크포인트")

    LEGEND = Phrase(
        "Marks: {marks}. The difference is that of the numbers, the change of FVD is taken above its floor. "
        "The mark says whether a change is better or worse.",
        "평가 기호: {marks}. 변화량은 수치 그대로의 증감이며, FVD의 변화율은 바닥값을 빼고 계산합니다. "
        "개선 여부는 평가 기호로 판단합니다.",
    )

    # overview
    OVERVIEW = Phrase("Overview", "실행 개요")
    ITEM = Phrase("item", "항목")
    CONTENT = Phrase("value", "내용")
    DATE = Phrase("date (UTC)", "실행 일시(UTC)")
    FILE = Phrase("checkpoint", "체크포인트")
    LORA = Phrase("LoRA", "LoRA 정보")
    PROGRAMS = Phrase("programs", "프로그램")
    READ_BY = Phrase("read by", "적용됨")
    READ_IN_PART = Phrase("read in part by", "일부만 적용됨")
    NOT_READ = Phrase("not read by", "적용 안 됨")
    LORA_FORM = Phrase(
        "{format}, {dtype}, rank {rank}, {targets} layers, scale {scale}",
        "{format}, {dtype}, rank {rank}, 대상 레이어 {targets}개, scale {scale}",
    )
    HALF_HIGH = Phrase("high-noise LoRA", "high-noise 전문가 LoRA")
    HALF_LOW = Phrase("low-noise LoRA", "low-noise 전문가 LoRA")
    HALF_OF = Phrase(
        "{file}, sha256 {sha256}, strength {strength}", "{file}, sha256 {sha256}, 강도 {strength}"
    )
    FILE_WARNING = Phrase("warning of the file", "파일에서 확인할 점")
    FILE_HINT = Phrase("hint of the file", "파일 참고 사항")
    APPLIED = Phrase("LoRA applied", "LoRA 적용")
    APPLIED_TO = Phrase(
        "{patched} of {targets} layers patched", "레이어 {targets}개 중 {patched}개에 적용 확인"
    )
    OTHER_SEEDS = Phrase(
        "Other seeds would disagree with probability about {chance:.0%}.",
        "다른 시드로 실행하면 판정이 달라질 확률은 약 {chance:.0%}입니다.",
    )
    OTHER_SEEDS_AGREE = Phrase(
        "Other seeds would disagree with probability below {chance:.0%}.",
        "다른 시드로 실행하면 판정이 달라질 확률은 {chance:.0%} 미만입니다.",
    )
    RUNS = Phrase("runs of these bytes", "동일 파일 실행 횟수")
    SUITE = Phrase("suite", "스위트")
    BENEATH = Phrase("on the model, below", "모델에 함께 적용된 LoRA")
    SIZE = Phrase("video", "해상도")
    SIZE_OF = Phrase(
        "{height}x{width}x{frames} (height x width x frames), {steps} steps",
        "{height}x{width}x{frames} (height x width x frames), {steps} steps",
    )
    SEEDS = Phrase("videos a scenario", "시나리오당 비디오")
    SEEDS_OF = Phrase(
        "{first} to {most}, until the evidence settles it", "{first}~{most}개(근거가 충분할 때까지)"
    )
    SEEDS_FIXED = Phrase("{most}", "{most}개")
    BASELINE = Phrase("compared with", "비교 기준")
    BASELINE_OF = Phrase("{name}, measured on {created}", "{name}, {created} 측정")
    NO_BASELINE = Phrase("nothing: no baseline could be read", "없음(기준을 읽을 수 없음)")
    COST = Phrase("videos of this run", "생성한 비디오")
    COST_OF = Phrase(
        "{rendered} rendered, {reused} reused, {failed} failed",
        "신규 {rendered}개, 재사용 {reused}개, 실패 {failed}개",
    )

    # tables
    SCENARIO = Phrase("scenario", "시나리오")
    METRIC = Phrase("metric", "메트릭")
    BASE_MODEL = Phrase("base model", "베이스 모델")
    ACCEPTED = Phrase("baseline", "기준 체크포인트")
    CANDIDATE = Phrase("LoRA", "LoRA 모델")
    DIFFERENCE = Phrase("difference", "변화량")
    CHANGE = Phrase("change", "변화율")
    MARK = Phrase("mark", "평가")
    VIDEOS = Phrase("n", "비디오 수")
    POINTS = Phrase("pp", "%p")
    ALL_SCENARIOS = Phrase("all scenarios", "전체 시나리오")
    EACH_SCENARIO = Phrase("each scenario (mean)", "시나리오별(평균)")

    RESULTS = Phrase("Results", "정량적 비교")
    OVERALL_TABLE = Phrase("All comparisons", "전체 결과")
    AVERAGES = Phrase("Averages", "평균 점수")
    AVERAGES_NOTE = Phrase(
        "Plain means over all scenarios ({scenarios}). The mark is that of all scenarios together; a mean of "
        "distances is not judged, the distance of all videos pooled is.",
        "시나리오 {scenarios}개의 단순 평균입니다. 평가는 전체 시나리오를 합친 판정이며, FVD는 시나리오별 "
        "값의 평균이 아니라 모든 비디오를 합쳐 계산한 값으로 판정합니다.",
    )
    POOLED = Phrase("{metric} (all videos pooled)", "{metric}(전체 비디오 통합)")
    MEAN_OF = Phrase("{metric} (mean of scenarios)", "{metric}(시나리오 평균)")

    # scenarios
    ANALYSIS = Phrase("Scenario by scenario", "시나리오별 상세 분석")
    PROMPT = Phrase("Prompt: {prompt}", "프롬프트: {prompt}")
    SUCCESS = Phrase(
        "Better in {better}, and nothing regressed.", "악화된 메트릭 없이 {better} 항목이 개선되었습니다."
    )
    HELD = Phrase(
        "Holds the level of the baseline: nothing regressed, and nothing is certainly better.",
        "기준 수준을 유지했습니다. 악화된 메트릭도, 확실히 개선된 메트릭도 없습니다.",
    )
    SLIGHT = Phrase(
        "Slightly worse, within the fail band: {worse}.", "실패 기준 안에서 소폭 악화되었습니다({worse})."
    )
    FAILED = Phrase(
        "Regressed beyond the fail band: {failing}.", "실패 기준을 넘어 악화되었습니다({failing})."
    )
    SPOILT = Phrase(
        "Cannot be scored, which fails: {metrics}.", "채점할 수 없는 영상이 있어 실패했습니다({metrics})."
    )
    BROKEN = Phrase("The absolute limit is broken: {metrics}.", "절대 기준을 벗어났습니다({metrics}).")
    NOT_MEASURED = Phrase("Not measured: {metrics}.", "측정하지 못했습니다({metrics}).")
    NONE_COMPARED = Phrase("Nothing is compared with the baseline here.", "기준과 비교하는 항목이 없습니다.")
    NOTHING = Phrase("Nothing was measured here.", "측정된 항목이 없습니다.")
    WEAK_LOSS = Phrase(
        "Beyond the fail band, but on weak evidence: {metrics}.",
        "실패 기준을 넘었지만 근거가 약합니다({metrics}).",
    )
    BETTER_LINE = Phrase(
        "{metric} better: {baseline} → {value} ({relative})",
        "{metric} 개선: {baseline} → {value} ({relative})",
    )
    WORSE_LINE = Phrase(
        "{metric} worse: {baseline} → {value} ({relative})",
        "{metric} 악화: {baseline} → {value} ({relative})",
    )
    FAIL_LINE = Phrase(
        "{metric} much worse: {baseline} → {value} ({relative}), the fail band is {fail:.1%}",
        "{metric} 크게 악화: {baseline} → {value} ({relative}), 실패 기준 {fail:.1%} 초과",
    )
    RISE_LINE = Phrase(
        "{metric} suspiciously {way}: {baseline} → {value} ({relative}); noise, flicker or a frozen picture "
        "can do that, look at the videos",
        "{metric} 비정상적 {way}: {baseline} → {value} ({relative}). 노이즈, 깜빡임, 정지 화면일 수 있으니 "
        "영상 확인 필요",
    )
    OTHER_LINE = Phrase(
        "{metric}, {verdict}: {why}",
        "{metric}, 판정 {verdict}: {why}",
    )
    OTHER_COUNT = Phrase(
        "A limit counts every video, n = {limit}; the comparison takes as many of each scenario, n = {n}, so "
        "the two values differ.",
        "절대 기준은 모든 비디오(n = {limit})로, 비교는 시나리오마다 같은 수의 비디오(n = {n})로 계산하므로 "
        "두 값이 다릅니다.",
    )
    KEPT_LINE = Phrase("Kept: {metrics}", "유지: {metrics}")
    WORST_LINE = Phrase(
        "Worst video: {metric}, seed {seed}: {value} (its pair: {baseline})",
        "가장 나쁜 비디오: {metric}, 시드 {seed}, {value} (같은 시드의 기준: {baseline})",
    )

    # limits
    RAPA = Phrase("RAPA 2025 limits", "RAPA 2025 기준 평가")
    LIMITS = Phrase("Absolute limits", "절대 기준 평가")
    LIMIT = Phrase("limit", "기준")
    SINGLE_VIDEOS = Phrase("single videos", "개별 비디오")
    ABSOLUTE = Phrase("absolute limit", "절대 기준")
    LIMIT_LINE = Phrase("{value}, limit: {bounds}", "{value}, 기준 {bounds}")
    MARGIN = Phrase("margin", "여유")
    LIMITS_HOLD = Phrase(
        "All limits hold ({limits}). Least room is left by {metric} of {place}: {margin:.1%} of the bound.",
        "절대 기준 {limits}개를 모두 충족합니다. 여유가 가장 작은 항목은 {place}의 {metric}(기준값 대비 "
        "{margin:.1%})입니다.",
    )
    LIMITS_BROKEN = Phrase(
        "Limits that do not hold: {broken} of {limits}.",
        "절대 기준 {limits}개 중 {broken}개를 충족하지 못했습니다.",
    )
    NO_LIMITS = Phrase("No limit was judged.", "판정한 절대 기준이 없습니다.")
    OWN_SCORERS = Phrase(
        "These scores are not of ViT-B/32 and I3D, to which published limits such as those of RAPA 2025 "
        "belong: the limits mean something within this suite only.",
        "이 점수는 RAPA 2025 등 공개 기준이 전제하는 ViT-B/32와 I3D로 계산한 값이 아니므로, 이 기준은 해당 "
        "스위트 안에서만 의미가 있습니다.",
    )

    # evidence
    EVIDENCE = Phrase("Evidence", "통계적 근거")
    EVIDENCE_NOTE = Phrase(
        "The change to the worse that is judged is that of videos paired by seed, positive is worse; of FVD "
        "it is taken above the floor that this number of videos explains.",
        "판정에 쓰는 악화율은 같은 시드끼리 짝지은 비디오의 상대 변화로, 양수가 악화입니다. FVD의 악화율은 "
        "비디오 수 때문에 생기는 바닥값을 뺀 뒤 계산합니다.",
    )
    ALL_SETTLED = Phrase("Every comparison is settled.", "모든 비교의 근거가 충분합니다.")
    SOME_WEAK = Phrase(
        "On weak evidence: {count} of {all} comparisons.", "비교 {all}건 중 {count}건은 근거가 약합니다."
    )
    SOME_OPEN = Phrase(
        "Not settled, but hardly able to fail with more videos: {count} of {all} comparisons.",
        "비교 {all}건 중 {count}건은 확정되지 않았지만, 비디오를 더 생성해도 실패할 가능성이 낮습니다.",
    )
    SOME_UNTESTED = Phrase(
        "Too few videos for a test, so that the band alone decides: {count} of {all} comparisons.",
        "비교 {all}건 중 {count}건은 비디오 수가 적어 검정 없이 허용 범위만으로 판정했습니다.",
    )
    LOSS = Phrase("change to the worse", "악화율")
    INTERVAL = Phrase("interval", "신뢰구간")
    P_VALUE = Phrase("p (Holm)", "p값(Holm)")
    STANDING = Phrase("evidence", "근거")
    READING = Phrase("How to read this page", "평가 기호와 허용 범위")
    WARN_FROM = Phrase("warn from", "주의(이상)")
    FAIL_BEYOND = Phrase("fail beyond", "실패(초과)")
    BETTER_FROM = Phrase("better from", "개선(이상)")
    GOOD_WAY = Phrase("better is", "좋은 방향")
    HIGHER = Phrase("higher", "높을수록")
    LOWER = Phrase("lower", "낮을수록")

    # several checkpoints
    COMPARED = Phrase("The checkpoints compared", "체크포인트 비교")
    VERDICT = Phrase("verdict", "판정")
    PUBLISHABLE = Phrase("may be published", "배포 가능")
    REFUSED = Phrase("may not be published", "배포 불가")
    FAILS = Phrase("fail", "실패")
    WARNS = Phrase("warn", "주의")
    MEAN_LOSS = Phrase("mean loss", "평균 손실")
    LARGEST_LOSS = Phrase("largest loss", "최대 손실")
    MEAN_LOSS_NOTE = Phrase(
        "A negative loss is better than the baseline.", "손실이 음수이면 기준보다 개선되었음을 뜻합니다."
    )
    TREND = Phrase("Course of {place}", "{place} 추이")
    COURSE = Phrase("course", "추세")

    # targets
    TARGETS = Phrase("Targets", "목표 달성 현황")
    TARGET = Phrase("target", "목표")
    NOW = Phrase("now", "현재")
    REACHED = Phrase("✅ reached", "✅ 달성")
    OPEN = Phrase("❌ not reached", "❌ 미달성")

    # training data
    DATA = Phrase("Training data", "학습 데이터")
    DATA_OF = Phrase(
        "{file}: {prompts} prompts in {rows} rows, sha256 {sha256}",
        "{file}: 프롬프트 {prompts}개({rows}행), sha256 {sha256}",
    )
    CATEGORY = Phrase("category", "카테고리")
    PROMPTS = Phrase("prompts", "프롬프트 수")
    SHARE = Phrase("share", "비중")
    RARE = Phrase("rare", "적음")
    SHARES = Phrase("Shares of all categories: {shares}.", "전체 카테고리 비중: {shares}.")
    UNDECIDED = Phrase(
        "Prompts that no word decided, counted as other: {undecided}.",
        "단어로 분류되지 않아 기타로 집계한 프롬프트가 {undecided}개입니다.",
    )
    SUSPICION = Phrase(
        "{scenario} regressed in {metric}{loss}, and its category {category} is rare in the training data: "
        "{share:.1%} of the prompts, {commonest} {commonest_share:.1%}. A suspicion, no proof.",
        "{scenario}의 {metric} 악화{loss}: {category} 카테고리는 학습 프롬프트의 {share:.1%}로 적습니다"
        "({commonest}: {commonest_share:.1%}). 데이터 불균형이 의심되지만 원인으로 확정된 것은 아닙니다.",
    )
    SUSPICION_LOSS = Phrase(" by {loss:.1%}", "({loss:.1%})")
    AGAINST = Phrase(
        "Against it: {against}, of a category no more common, did not regress.",
        "다만 비중이 그보다 크지 않은 카테고리의 {against}에서는 악화가 없었습니다.",
    )
    RARER_WORSE = Phrase(
        "Over {scenarios} scenarios of {categories} categories: the rarer its category, the worse a scenario "
        "became (Spearman's rho {rho:+.2f}, one-sided p {p_value:.3f}).",
        "시나리오 {scenarios}개(카테고리 {categories}개)에서 카테고리 비중이 작을수록 더 악화되었습니다"
        "(Spearman 상관계수 {rho:+.2f}, 단측 p값 {p_value:.3f}).",
    )
    CHANCE = Phrase(
        "Over {scenarios} scenarios of {categories} categories, rarity and change cannot be told from chance "
        "(Spearman's rho {rho:+.2f}, one-sided p {p_value:.3f}).",
        "시나리오 {scenarios}개(카테고리 {categories}개)에서 카테고리 비중과 악화 정도의 관계는 우연과 "
        "구별되지 않습니다(Spearman 상관계수 {rho:+.2f}, 단측 p값 {p_value:.3f}).",
    )

    # the end
    NEXT = Phrase("What to do next", "개선 방안")
    NEXT_STEP = Phrase("Do next", "다음 단계")
    AND_MORE = Phrase("and {more} more", "외 {more}개")
    WORST = Phrase("worst", "가장 나쁜 항목")
    WHOLE_REPORT = Phrase(
        "The videos, all numbers and every reason are in report.html and report.md of the run {folder}.",
        "영상과 모든 수치, 판정 사유는 실행 {folder}의 report.html과 report.ko.md에 있습니다.",
    )
    NOTHING_NEXT = Phrase(
        "Nothing by the data of this run.", "이 결과만으로는 추가 조치가 필요하지 않습니다."
    )
    FAILED_ITEMS = Phrase("What fails", "실패 항목")
    FAILED_NOTE = Phrase("Worst first, each reason once.", "심각한 순서이며, 같은 사유는 한 번만 적었습니다.")
    REPRODUCE = Phrase("Environment and how to reproduce", "실행 환경 및 재현 방법")
    REPRODUCE_NOTE = Phrase(
        "The same suite, checkpoint and environment give the same scores:",
        "스위트, 체크포인트, 실행 환경이 같으면 같은 점수가 나옵니다.",
    )
    NOTES = Phrase("Notes", "참고 사항")
    DIFFERS = Phrase("The baseline was measured elsewhere: {what}", "기준을 측정한 환경이 다릅니다: {what}")
    BASE_ADDED = Phrase(
        "The baseline lacks seeds of this run. More videos of the model without LoRA that were compared "
        "with: {count}, rendered in this run: {rendered} ({where}); the stored baseline was not changed.",
        "기준에 없는 시드가 있어 LoRA 없는 모델의 비디오 {count}개를 더해 비교했습니다. "
        "이번 실행에서 생성한 것은 {rendered}개입니다({where}). 저장된 기준은 바뀌지 않았습니다.",
    )
    CAP = Phrase(
        "The suite asks for up to {wanted} seeds a scenario and the baseline has {stored}: no more were "
        "compared, because {why}; to measure more: {command}",
        "스위트는 시나리오마다 시드를 {wanted}개까지 요구하지만 기준에는 {stored}개가 있습니다. "
        "{why} 그 이상은 비교하지 않았습니다. 시드를 더 측정하려면: {command}",
    )
    CAP_ACCEPTED = Phrase(
        "it is of an accepted checkpoint, which a gate does not render",
        "기준이 승인된 체크포인트이고 게이트는 이를 생성하지 않으므로",
    )
    CAP_UNLIKE = Phrase(
        "one of its videos, rendered here, is not the stored one ({why})",
        "저장된 기준 비디오 하나를 여기서 생성한 결과가 저장된 것과 다르므로({why})",
    )
    LOST_VIDEO = Phrase(
        "No video of {scenario}, seed {seed}, for {candidate}: {why}",
        "비디오 생성 실패({candidate}, {scenario}, 시드 {seed}): {why}",
    )

    # where it is cut
    SUMMARY_CUT = Phrase(
        "This summary is cut to the size that is allowed here; report.md in the run's folder has all of it.",
        "허용 크기에 맞춰 요약을 잘랐습니다. 전체 내용은 실행 폴더의 report.ko.md를 참고하세요.",
    )
