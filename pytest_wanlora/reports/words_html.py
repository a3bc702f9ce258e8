"""The phrases of the HTML page that the Markdown pages do not have."""

from __future__ import annotations

from enum import Enum

from pytest_wanlora.phrases import Language, Phrase


class Html(Enum):
    """Every phrase of the page's own."""

    def say(self, language: Language, **fields: object) -> str:
        """See `Phrase.say`."""
        return self.value.say(language, **fields)

    # around the page
    SKIP = Phrase("Skip to the verdict", "판정으로 건너뛰기")
    SUITE_OF = Phrase("suite {name}", "스위트 {name}")
    SECTIONS = Phrase("Sections of this report", "보고서 목차")
    SCENARIOS = Phrase("Scenarios", "시나리오")
    ITS_LIMITS = Phrase("Limits", "절대 기준")
    CHECKPOINT = Phrase("Checkpoint", "체크포인트")
    CHECKPOINTS = Phrase("Checkpoints", "체크포인트")
    NOISE = Phrase("Noise", "우연한 변동")
    RUN = Phrase("Run", "실행 정보")
    BENEATH = Phrase("On the model, below", "모델에 함께 적용된 LoRA")
    MATRIX = Phrase("Matrix", "판정표")
    THE_COURSE = Phrase("Course", "추이")
    THE_NEXT = Phrase("Next", "다음 단계")
    NUMBERS = Phrase("Numbers", "수치 보기")
    NUMBERS_OF = Phrase(" of {what}", ", 대상: {what}")

    # the verdict
    NO_OTHER = Phrase("No other checkpoint was gated.", "다른 체크포인트는 검사하지 않았습니다.")
    MAY = Phrase("{name} may be published", "{name}: 배포 가능")
    MAY_NOT = Phrase("{name} may not be published", "{name}: 배포 불가")
    WAS_BASELINE = Phrase("{name} was measured as a baseline", "{name}: 비교 기준으로 측정")
    IN_PART = Phrase("{name} was judged in part only", "{name}: 일부만 판정")
    UNMEASURED = Phrase(
        "{name} could not be measured, so it may not be published",
        "{name}: 측정하지 못해 배포 불가",
    )
    UNDECIDED = Phrase("{name} is undecided, so it may not be published", "{name}: 판정 보류, 배포 불가")
    ABLE = Phrase(
        "{able} of {count} checkpoints may be published",
        "체크포인트 {count}개 중 {able}개 배포 가능",
    )
    NONE_ABLE = Phrase(
        "None of {count} checkpoints may be published",
        "체크포인트 {count}개 모두 배포 불가",
    )
    NO_GATED = Phrase("No checkpoint was gated", "평가한 체크포인트 없음")
    PARTIAL_RUN = Phrase(
        "This run was partial: not everything that the suite demands was judged, or a project "
        "test did not run, so nothing is publishable by it.",
        "부분 실행입니다. 스위트가 요구하는 항목 중 판정하지 않은 것이 있거나 실행하지 않은 "
        "프로젝트 테스트가 있어 이 결과로는 배포할 수 없습니다.",
    )
    FAILS = Phrase("What fails", "실패한 항목")
    NOT_MEASURED = Phrase("What could not be measured", "측정하지 못한 항목")
    COUNT_MORE = Phrase("{count} more", "{count}개 더 보기")
    WARNINGS = Phrase("Warnings, which do not stop it: {count}", "배포를 막지 않는 주의 항목: {count}개")
    LOST_FIRST = Phrase("Not rendered, the first: {video}", "생성하지 못한 첫 영상: {video}")
    LOST = Phrase("Videos that could not be rendered", "생성하지 못한 영상")
    TRIES = Phrase(
        "Run {runs} of these bytes on this suite: chance had {runs} tries.",
        "이 스위트에서 같은 파일을 {runs}번째 실행했습니다. 우연히 통과할 기회도 {runs}번이었습니다.",
    )
    FAILS_BY = Phrase(
        "{change}, {before} → {after}; {fail} is allowed",
        "{change}, {before} → {after}(허용 {fail})",
    )
    CHANGED = Phrase("{change}, {before} → {after}", "변화: {change}, {before} → {after}")
    ALLOWED = Phrase("{metric}: {change}, {fail} is allowed", "{metric}: {change}(허용 {fail})")
    LOOK_AT = Phrase("{metric}: look at the videos", "{metric}: 영상 확인 필요")
    AND_OTHERS = Phrase("{first}; more checks: {others}", "{first} 외 검사 {others}개")
    DO_IT = Phrase("next: {command}", "다음 명령: {command}")
    THE_FILE = Phrase("The file", "체크포인트 파일")
    IN_VIDEOS = Phrase("Videos, {scenario}", "영상, {scenario}")
    IN_LIMIT = Phrase("{metric} limit, {scenario}", "{metric} 절대 기준, {scenario}")
    TOGETHER = Phrase("All scenarios together", "전체 시나리오 통합")
    ALL_STEPS = Phrase("All steps", "모든 단계")
    COMMAND = Phrase("Command of step {number}", "{number}단계 명령")
    STEPS_BELOW = Phrase("Nothing but what is below, for all of them.", "아래의 공통 단계 외에는 없습니다.")
    WHICHEVER = Phrase("Whichever checkpoint", "모든 체크포인트 공통")
    TESTS_COUNT = Phrase(
        "Tests of this project that use a wanlora fixture: {passed} of {tests} pass. One that "
        "does not pass keeps its checkpoint from being published.",
        "wanlora 픽스처를 사용하는 이 프로젝트의 테스트입니다. {tests}개 중 {passed}개가 "
        "통과했습니다. 통과하지 못한 테스트가 있으면 해당 체크포인트를 배포할 수 없습니다.",
    )

    # videos
    LOOKS = Phrase("The videos to look at first", "먼저 볼 영상")
    SEED = Phrase("seed {seed}", "시드 {seed}")
    SEEDS = Phrase("Seed", "시드")
    WORST_IN = Phrase("worst in {metrics}", "{metrics} 최저")
    ROLE_BASELINE = Phrase("Baseline", "기준 모델")
    ROLE_CANDIDATE = Phrase("Candidate", "평가 대상")
    VIDEO = Phrase("{role} {name}, {scenario}, seed {seed}", "{role} {name}, {scenario}, 시드 {seed}")
    VIDEO_OF = Phrase("{role} {name}, {scenario}", "{role} {name}, {scenario} 영상")
    VIDEOS_OF = Phrase("Videos of {scenario}", "{scenario} 영상")
    FULL = Phrase("Full screen", "전체 화면")
    SAVE = Phrase("Save mp4", "mp4 저장")
    OPEN_FILE = Phrase("Open the file of seed {seed}", "시드 {seed} 파일 열기")
    PLAY = Phrase("Play", "재생")
    PAUSE = Phrase("Pause", "일시정지")
    PLAY_ALL = Phrase("Play all", "모두 재생")
    PAUSE_ALL = Phrase("Pause all", "모두 일시정지")
    FRAME = Phrase("Frame", "프레임")
    FRAME_OF = Phrase("frame %1 of %2", "%2개 중 %1번째 프레임")
    COUNT_OF = Phrase("%1 of %2", "%2개 중 %1번째")
    SPEED = Phrase("Speed", "재생 속도")
    COMPARE = Phrase("Compare", "비교 방법")
    WIPE = Phrase("Wipe", "화면 나누기")
    DIFFERENCE = Phrase("Difference", "차이")
    AMPLIFIED = Phrase("Amplified", "증폭")
    WIPE_AT = Phrase("Share of the baseline", "기준 모델 비율")
    STRIP = Phrase("All frames", "모든 프레임")
    STRIP_NOTE = Phrase(
        "All frames, the baseline above and the candidate below it. Framed is the one that differs most.",
        "모든 프레임. 위가 기준 모델, 아래가 평가 대상이며, 차이가 가장 큰 프레임에 테두리를 표시합니다.",
    )
    MOST = Phrase("differs most", "차이가 가장 큼")
    MEAN_DIFFERENCE = Phrase("%1% of the range on average", "전체 범위 대비 평균 %1%")
    CANNOT_SHOW = Phrase("The video cannot be shown: %1.", "영상을 표시할 수 없습니다(%1).")
    NO_H264 = Phrase("this browser cannot play H.264 video", "이 브라우저는 H.264 영상을 재생하지 못함")
    NO_FILE = Phrase("its file is not beside this page", "영상 파일이 이 페이지 옆에 없음")
    TOO_LONG = Phrase("decoding it took too long", "디코딩 시간 초과")
    WORST_SEEDS = Phrase(
        "Underlined seeds are the worst in a metric.",
        "밑줄 친 시드는 특정 메트릭에서 가장 나쁩니다.",
    )
    SEED_IS_WORST = Phrase(
        "Seed {seed} is the worst in {metrics}.",
        "시드 {seed}: {metrics} 기준으로 가장 나쁩니다.",
    )
    SEE_WORST = Phrase("See its worst, seed {seed}", "가장 나쁜 시드 {seed} 보기")
    NO_VIDEOS = Phrase("There are no videos to show.", "표시할 영상이 없습니다.")
    NEED_SCRIPT = Phrase(
        "The videos need JavaScript; everything else is here without.",
        "영상은 JavaScript가 필요합니다. 나머지는 모두 그대로 볼 수 있습니다.",
    )
    LEFT_OUT_OF_PAGE = Phrase(
        "Left out of this page: {count} of {videos} videos. With them it would have {whole} "
        "MB, and it is kept below {most} MB. They lie beside it in the folder videos, and play "
        "from there. The worst of each failing item are in the page.",
        "영상 {videos}개 중 {count}개는 이 페이지에 넣지 않았습니다. 모두 넣으면 {whole} MB가 "
        "되며, 페이지는 {most} MB 이하로 유지합니다. 나머지는 옆의 videos 폴더에 있으며 그곳에서 "
        "재생합니다. 실패 항목의 가장 나쁜 영상은 페이지에 들어 있습니다.",
    )
    KEPT_NONE = Phrase("no preview of this video was kept", "저장된 미리보기가 없음")
    GONE = Phrase("the preview's file is no longer there", "미리보기 파일이 없음")
    UNREADABLE = Phrase("the preview's file cannot be read as an mp4", "미리보기 파일을 mp4로 읽을 수 없음")
    NO_SEED = Phrase("the baseline has no video of this seed", "기준에 이 시드의 영상이 없음")
    DEGENERATE = Phrase("degenerate: {why}", "비정상 영상: {why}")

    # matrix and tables
    MATRIX_NOTE = Phrase(
        "Each scenario against the baseline, each mark a link to its numbers and videos. A "
        "warning that says “higher” rose by more than better pictures explain: look whether "
        "noise, flicker or a frozen picture is behind it.",
        "각 시나리오를 기준과 비교한 결과입니다. 표시를 누르면 수치와 영상으로 이동합니다. "
        "'상승' 주의는 화질 개선만으로 설명되지 않는 증가이므로 노이즈, 깜빡임, 정지 화면인지 "
        "확인하세요.",
    )
    ABOVE_FLOOR = Phrase(
        "So few videos have an FVD of some size by themselves, their floor. The change is that of the part "
        "above it, so it can be more than 100%.",
        "FVD의 변화율은 비디오 수 때문에 생기는 바닥값을 뺀 값이므로 100%를 넘을 수 있습니다.",
    )
    WORST_OF = Phrase("Worst verdict of each scenario", "시나리오별 가장 나쁜 판정")
    EVERY_METRIC = Phrase("Every metric of {name}", "{name}의 모든 메트릭")
    NOTHING_JUDGED = Phrase("Nothing was judged.", "판정한 항목이 없습니다.")
    NOT_DEMANDED = Phrase("not demanded", "요구하지 않음")
    LIMIT_BROKEN = Phrase("limit broken", "절대 기준 위반")
    LIMIT_KEPT = Phrase("limit kept", "절대 기준 충족")
    COMPARISONS = Phrase("Comparisons of {name}, {scenario}", "{name}, {scenario} 비교")
    BOTH_SIDES = Phrase("Baseline → candidate", "기준 → 평가 대상")
    CHANGE = Phrase("Change", "변화")
    WORSE_SIDE = Phrase("← worse", "← 악화")
    BETTER_SIDE = Phrase("better →", "개선 →")
    HIGHER_BETTER = Phrase("higher is better", "높을수록 좋음")
    LOWER_BETTER = Phrase("lower is better", "낮을수록 좋음")
    ABOVE = Phrase("{value} above the floor of {n} videos", "{value}(비디오 {n}개의 바닥값 제외)")
    FLOORS = Phrase(
        "judged above the floor of {n} videos: {values}",
        "비디오 {n}개의 바닥값을 뺀 값: {values}",
    )
    ROLE_TRIGGER = Phrase("With the trigger", "트리거 사용")
    REFERENCES = Phrase("References", "레퍼런스")
    REFERENCE_OF = Phrase("reference {number}", "레퍼런스 {number}")
    LIKENESS_OVER = Phrase(
        "Likeness over the frames: solid with the trigger, broken the baseline",
        "프레임별 유사도: 실선은 트리거 사용, 점선은 기준",
    )
    LIKENESS_CURVE = Phrase("Likeness of {name} in {scenario}", "{scenario}에서 {name}의 유사도")
    LIKENESS_WORDS = Phrase(
        "with the trigger from {first:.3f} in the first frame to {last:.3f} in the last; the baseline begins "
        "with {base:.3f}",
        "트리거 사용 시 첫 프레임 {first:.3f}, 마지막 프레임 {last:.3f}, 기준의 첫 프레임 {base:.3f}",
    )
    COPY_OF = Phrase(
        "Seed {seed} above, the training clip {clip} below", "위: 시드 {seed}, 아래: 학습 영상 {clip}"
    )
    INTERVAL_IS = Phrase("{level:.0%} interval {bounds}", "{level:.0%} 신뢰구간 {bounds}")
    KEY_SEED = Phrase("a seed", "시드 하나")
    KEY_MEAN = Phrase("the change with its interval of {level}", "변화와 {level} 신뢰구간")
    KEY_BAND = Phrase("warns", "주의 범위")
    KEY_FAIL = Phrase("fails", "실패 범위")
    ITS_LIMIT = Phrase("its limit, {words}", "절대 기준 {words}")
    LIMIT_IS = Phrase("{demanded}; it is {value}, n = {n}", "{demanded}, 측정값 {value}, n = {n}")
    AT_LEAST = Phrase("at least {bound:g}", "{bound:g} 이상")
    AT_MOST = Phrase("at most {bound:g}", "{bound:g} 이하")
    AND = Phrase(" and ", " 그리고 ")
    BY_SEED = Phrase("Scores by seed", "시드별 점수")
    CLIP_CAPTION = Phrase("CLIP compares with: {caption}", "CLIP 비교 문장: {caption}")
    SHOWN_HERE = Phrase("Checkpoint whose numbers are shown", "수치를 표시할 체크포인트")
    NO_CHANGE_TOLD = Phrase("no change can be told", "변화를 알 수 없음")
    CHANGE_OF = Phrase("Change of {metric}, {scenario}, {name}", "{metric} 변화, {scenario}, {name}")
    STRIP_WORDS = Phrase(
        "{change}{interval}; right is better. Warns from {warn} worse, fails beyond {fail} worse.{seeds}",
        "{change}{interval}. 오른쪽이 개선. 악화 {warn}부터 주의, {fail} 초과는 실패.{seeds}",
    )
    SEED_VALUES = Phrase(" Seeds: {values}.", " 시드별: {values}.")
    OF_SEED = Phrase("seed {seed}: {change}", "시드 {seed}: {change}")
    TICK_WORSE = Phrase("{size} worse", "{size} 악화")
    TICK_BETTER = Phrase("{size} better", "{size} 개선")
    TICK_BASE = Phrase("baseline", "기준")

    # several checkpoints
    COURSES = Phrase("From checkpoint to checkpoint", "체크포인트별 추이")
    COURSES_NOTE = Phrase(
        "Change against the baseline in the order of the command line; up is better. The shaded "
        "zone warns, the hatched one fails. Bars are the {level} interval of all scenarios "
        "together.",
        "명령줄 순서에 따른 기준 대비 변화입니다. 위쪽이 개선이며, 음영은 주의, 빗금은 실패 "
        "범위입니다. 막대는 전체 시나리오의 {level} 신뢰구간입니다.",
    )
    OVER = Phrase("{metric} over {count} checkpoints", "체크포인트 {count}개의 {metric}")
    COURSE_WORDS = Phrase(
        "Change against the baseline; up is better. {scenario}, last: {change}.",
        "기준 대비 변화, 위쪽이 개선. {scenario}, 마지막: {change}.",
    )
    BY_CHECKPOINT = Phrase("{metric} by checkpoint", "체크포인트별 {metric}")

    # limits and targets
    LIMITS_NOTE = Phrase(
        "Absolute bounds, judged on the candidate alone: one that is broken fails, whatever the "
        "baseline did. Hatched is what a limit forbids.",
        "평가 대상만으로 판정하는 절대 기준입니다. 하나라도 위반하면 기준 모델과 관계없이 "
        "실패하며, 빗금은 허용하지 않는 범위입니다.",
    )
    DEMANDED = Phrase("Demanded", "요구값")
    MEASURED = Phrase("Measured", "측정값")
    BASELINE_HAS = Phrase("the baseline has {value}", "기준은 {value}")
    ROOM_ABOVE = Phrase("{room} above the bound", "기준값보다 {room} 높음")
    ROOM_BELOW = Phrase("{room} below the bound", "기준값보다 {room} 낮음")
    BULLET_WORDS = Phrase("{value}; demanded is {demanded}.", "{value}, 요구값 {demanded}.")
    TARGETS_NOTE = Phrase(
        "What more training is to reach. Targets gate nothing.",
        "추가 학습으로 도달할 목표이며, 배포 판정에는 쓰이지 않습니다.",
    )
    WANTED = Phrase("Wanted", "목표값")
    REACHED = Phrase("reached", "달성")
    NOT_REACHED = Phrase("not reached", "미달성")

    # training data
    DATA_NOTE = Phrase(
        "{file}: {prompts:,} prompts in {rows:,} rows, sorted into categories by their words; "
        "{undecided:,} that no word decides count as other. Hatched categories are rare.",
        "{file}: 프롬프트 {prompts:,}개({rows:,}행)를 단어로 분류했으며, 분류되지 않은 "
        "{undecided:,}개는 기타로 집계합니다. 빗금은 비중이 작은 카테고리입니다.",
    )
    BY_CATEGORY = Phrase("Training prompts by category", "카테고리별 학습 프롬프트")
    RARE_ARE = Phrase("{listed}. Rare: {rare}.", "{listed}. 비중이 작은 카테고리: {rare}.")
    NONE_RARE = Phrase("none", "없음")
    NOT_RARE = Phrase(
        "Nothing that failed is in a rare category.",
        "실패한 항목 중 비중이 작은 카테고리는 없습니다.",
    )
    UNKNOWN = Phrase("unknown", "알 수 없음")
    CATEGORIES = Phrase("Categories", "카테고리 목록")

    # the file
    REAL_CHANGE = Phrase("Intended and real change", "의도한 변화와 실제 변화")
    NORMS = Phrase("Norm of the update in each block", "블록별 변화량 노름")
    NORMS_OF = Phrase("Norm of the update in each block, {name}", "블록별 변화량 노름, {name}")
    NORMS_WORDS = Phrase(
        "{count} blocks; the largest is block {largest} with {norm:.3g}.{absent}",
        "블록 {count}개, 가장 큰 블록은 {largest}번({norm:.3g}).{absent}",
    )
    NORMS_ABSENT = Phrase(" No finite norm in block {blocks}.", " 노름이 유한하지 않은 블록: {blocks}.")
    BLOCK = Phrase("Block", "블록")
    NORM = Phrase("Norm", "노름")
    LAYERS = Phrase("Layers", "레이어")
    FACT_FILE = Phrase("File", "파일")
    FACT_FORMAT = Phrase("Format", "형식")
    FACT_RANK = Phrase("Rank", "랭크")
    FACT_TARGETS = Phrase("Targets", "대상")
    FACT_LAYERS = Phrase("{count} layers", "레이어 {count}개")
    FACT_BLOCKS = Phrase("Blocks", "블록")
    FACT_OF = Phrase("{part} of {whole}", "{whole}개 중 {part}개")
    FACT_PROGRAMS = Phrase("Programs", "프로그램")
    FACT_STRENGTH = Phrase("Strength", "강도")
    FACT_HINT = Phrase("Hint", "참고")
    PATCHED = Phrase("Layers patched", "LoRA를 적용한 레이어")
    PATCHED_OF = Phrase("{part} of {whole} ({mode})", "{whole}개 중 {part}개({mode})")
    DIFFER = Phrase("Layers that differ", "값이 달라진 레이어")
    SURVIVES = Phrase("Survives rounding", "반올림 후 유지")
    SURVIVES_OF = Phrase(
        "{strength} of the intended change, cosine {cosine}",
        "의도한 변화의 {strength}, 코사인 {cosine}",
    )
    ITS_SIZE = Phrase("Size", "크기")
    SIZE_SHARE = Phrase("{share} of the weights", "가중치의 {share}")
    RANGE = Phrase("{low} to {high}", "최소 {low}, 최대 {high}")

    # noise
    NOISE_TITLE = Phrase("What chance alone does", "우연만으로 생기는 변동")
    NOISE_NOTE = Phrase(
        "Two sets of {n} videos of the baseline's own model with different noise differ by this "
        "much in 1 of 20 comparisons. Candidates share the baseline's noise, so it is the most "
        "that chance does to them.",
        "기준 모델의 영상 {n}개씩을 서로 다른 노이즈로 두 번 생성하면 20번 중 1번은 이만큼 "
        "차이가 납니다. 평가 대상은 기준과 같은 노이즈를 쓰므로 우연으로 생기는 차이는 이보다 "
        "크지 않습니다.",
    )
    ALL_WIDER = Phrase("Every band is wider than that.", "모든 허용 범위가 이보다 넓습니다.")
    ALL_FLOORS = Phrase("All noise floors", "모든 우연 변동")
    OF_BAND = Phrase("of {band}", "허용 {band}")
    OF_BAND_OVER = Phrase("of {band}, too wide", "허용 {band}, 초과")
    MOVES = Phrase(
        "{place}: chance moves it by {floor} with {n} seeds, the band is {band}; about {enough} "
        "seeds would resolve it",
        "{place}: 시드 {n}개에서 우연 변동 {floor}, 허용 범위 {band}. 시드 약 {enough}개면 "
        "구별할 수 있습니다",
    )
    CHANCE_MOVES = Phrase(
        "chance alone moves it by {floor} with {n} seeds, more than the band of {band} allows; "
        "about {enough} seeds would resolve it",
        "시드 {n}개에서 우연 변동 {floor}: 허용 범위 {band}보다 큽니다. 시드 약 {enough}개면 "
        "구별할 수 있습니다",
    )

    # the run
    THE_RUN = Phrase("The run", "실행 정보 및 재현")
    HOW = Phrase("How to reproduce", "재현 방법")
    TO_INSTALL = Phrase("Versions to install", "설치할 버전")
    THE_COMMAND = Phrase("Command", "명령")
    STARTED = Phrase("Started", "시작")
    TOOK = Phrase("Took", "소요 시간")
    VIDEOS = Phrase("Videos", "영상")
    VIDEOS_MADE = Phrase(
        "{rendered} rendered in {time}, {reused} reused, {failed} failed",
        "신규 {rendered}개({time}), 재사용 {reused}개, 실패 {failed}개",
    )
    EXIT = Phrase("Exit status", "종료 코드")
    A_LOOK = Phrase("Looks", "판정 시점")
    LOOKS_AT = Phrase("{looks} videos a scenario", "시나리오당 영상 {looks}개")
    SUITE_SHA = Phrase("Suite {name}, SHA-256", "스위트 {name}, SHA-256")
    BASELINE_SHA = Phrase("Baseline {name} of {created}, SHA-256", "기준 {name}({created} 측정), SHA-256")
    LET_PASS = Phrase(
        "Differences to the baseline's environment that were let pass",
        "허용한 기준 환경과의 차이",
    )
    ENVIRONMENT = Phrase("Environment", "실행 환경")
    VERSIONS = Phrase("Versions", "버전")
    FINGERPRINT = Phrase("Fingerprint of the suite", "스위트 핑거프린트")
    FINGERPRINT_NOTE = Phrase(
        "What must be equal for two results to be comparable.",
        "두 결과를 비교하려면 같아야 하는 값입니다.",
    )
