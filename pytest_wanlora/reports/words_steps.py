"""What to do next, in words: one phrase for each key of `next_steps`.

Fields: `scenario` and `metrics` of the step, and its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pytest_wanlora.phrases import Phrase
from pytest_wanlora.reports.next_steps import StepKey

STEPS: Final[Mapping[StepKey, Phrase]] = MappingProxyType(
    {
        "race_on": Phrase(
            "The race stopped before its end, so which candidate is best is not known. Go on from there.",
            "후보 비교 경주가 도중에 중단되어 어느 후보가 가장 좋은지 알 수 없습니다. 아래 명령으로 이어서 "
            "실행하세요.",
        ),
        "publish": Phrase(
            "This checkpoint may be published. Let the receipt be checked where that happens.",
            "배포할 수 있습니다. 배포하는 쪽에서 receipt를 검증하세요.",
        ),
        "gate_alone": Phrase(
            "One more run, of this checkpoint alone, and it may be published. This run ended with exit code "
            "{exit_status} because of another checkpoint, so its receipts are refused. Videos are reused.",
            "배포할 수 있지만 다른 체크포인트 때문에 pytest가 종료 코드 {exit_status}번으로 끝나 verify가 이 "
            "receipt를 거부합니다. 이 체크포인트만 다시 검사하세요. 생성한 비디오는 재사용됩니다.",
        ),
        "baseline_stored": Phrase(
            "It is the baseline {baseline} now. Whether it may be published is decided by a gate.",
            "이제 이 결과가 기준 {baseline}입니다. 배포 여부는 게이트를 실행해 판정하세요.",
        ),
        "baseline_insist": Phrase(
            "It was refused as the baseline {baseline}. Mend what speaks against it; or insist, and the "
            "record and the baseline say who did.",
            "기준 {baseline}에 저장하는 것이 거부되었습니다. 원인을 해결하세요. 그래도 저장하려면 아래 "
            "명령을 쓰세요. 누가 저장했는지는 기록과 기준에 남습니다.",
        ),
        "baseline_not_stored": Phrase(
            "It was not stored as the baseline {baseline}. Mend what speaks against it, then store it again.",
            "기준 {baseline}에 저장하지 않았습니다. 위에 적힌 원인을 해결한 뒤 다시 실행하세요.",
        ),
        "fix_checkpoint": Phrase(
            "The file itself is at fault. See what it holds. If its weights are broken, gate an earlier "
            "checkpoint or train again; if it is the format, save it in another.",
            "체크포인트 파일 자체에 문제가 있습니다. 내용을 확인하세요. 가중치가 손상되었으면 이전 "
            "체크포인트를 검사하거나 다시 학습하고, 형식 문제라면 다른 형식으로 저장하세요.",
        ),
        "measure_baseline": Phrase(
            "Checks without a baseline: {items}. Measure the model without LoRA on this suite first.",
            "비교할 기준(baseline)이 없는 항목이 {items}개입니다. 이 스위트로 베이스 모델부터 측정하세요.",
        ),
        "comparable_environment": Phrase(
            "Checks that cannot be compared with the stored baseline: {items}. It was measured elsewhere or "
            "with other settings. Measure it anew where the gate runs, or run the gate where that was done.",
            "저장된 기준과 비교할 수 없는 항목이 {items}개입니다(실행 환경 또는 설정이 다름). 게이트를 "
            "실행하는 환경에서 기준을 다시 측정하거나, 기준을 측정한 환경에서 게이트를 실행하세요.",
        ),
        "degenerate": Phrase(
            "Checks with videos that cannot be scored (black, constant, not finite): {items}. Look at them, "
            "then at the training: too high a learning rate can end like this.",
            "채점할 수 없는 영상(검은 화면, 단색, NaN 등) 때문에 실패한 항목이 {items}개입니다. 영상을 "
            "확인하고, 학습률이 너무 높지 않았는지 점검하세요.",
        ),
        "not_measured": Phrase(
            "Checks that ended in an error: {items}. Remove the cause, which this report names, then gate it "
            "again.",
            "오류로 끝난 항목이 {items}개입니다. 이 보고서에 적힌 원인을 해결한 뒤 다시 실행하세요.",
        ),
        "cause_first": Phrase(
            "Checks that ended in an error: {items}. Do this first, then gate it again.",
            "오류로 끝난 항목이 {items}개입니다. 먼저 아래 명령을 실행한 뒤 게이트를 다시 실행하세요.",
        ),
        "run_everything": Phrase(
            "This was a partial run ({judged} of {expected} checks judged). Only a whole run decides; run it "
            "without a selection.",
            "전체 {expected}개 항목 중 {judged}개를 판정한 부분 실행입니다. 배포 여부는 전체 실행으로만 "
            "결정되므로, 선택 옵션 없이 다시 실행하세요.",
        ),
        "limit_broken": Phrase(
            "{scenario}: {metrics} is beyond its absolute limit by {missing:.1%}. Whatever the baseline "
            "says, it cannot be published like this.",
            "{scenario}: {metrics} 값이 절대 기준을 {missing:.1%} 벗어났습니다. 기준 모델과의 비교 결과와 "
            "관계없이 이 상태로는 배포할 수 없습니다.",
        ),
        "limit_broken_by_both": Phrase(
            "{scenario}: {metrics} is beyond its absolute limit by {missing:.1%}, and the baseline breaks "
            "that limit too ({baseline}). Look at the prompt, its caption and the limit first. It cannot be "
            "published like this.",
            "{scenario}: {metrics} 값이 절대 기준을 {missing:.1%} 벗어났습니다. 비교 기준(baseline)도 이 "
            "절대 기준을 지키지 못합니다({baseline}). 먼저 프롬프트와 캡션, 절대 기준이 적절한지 확인하세요. "
            "이 상태로는 배포할 수 없습니다.",
        ),
        "regressed_everywhere": Phrase(
            "All {scenarios} scenarios regressed ({metrics}), so the mix of the data is hardly the cause. "
            "Suspect the training: learning rate, number of steps, LoRA rank. A lower scale shows whether "
            "the LoRA is merely too strong.",
            "시나리오 {scenarios}개가 모두 악화되었으므로({metrics}) 데이터 구성보다는 학습 설정을 "
            "의심해야 합니다. 학습률, 학습량, LoRA rank를 점검하세요. scale을 낮춰 실행하면 LoRA가 "
            "지나치게 강하게 적용된 것인지 확인할 수 있습니다.",
        ),
        "category_regressed": Phrase(
            "The category {category} regressed ({scenario}: {metrics}). Sample a new training set with "
            "more of it from your METADATA.csv, then train again.",
            "{category} 카테고리가 악화되었습니다({scenario}: {metrics}). 악화된 카테고리의 비중을 높여 "
            "학습 데이터셋을 다시 구성하세요.",
        ),
        "category_regressed_share": Phrase(
            "The category {category} regressed ({scenario}: {metrics}); {share:.1%} of the training prompts "
            "are of it. Sample a new training set with more of it from your METADATA.csv, then train again.",
            "{category} 카테고리가 악화되었습니다({scenario}: {metrics}). 학습 프롬프트에서 차지하는 비중은 "
            "{share:.1%}입니다. 악화된 카테고리의 비중을 높여 학습 데이터셋을 다시 구성하세요.",
        ),
        "category_slipped": Phrase(
            "The category {category} lost a little ({scenario}: {metrics}). More samples of it may win that "
            "back.",
            "{category} 카테고리가 소폭 악화되었습니다({scenario}: {metrics}). 해당 카테고리의 샘플을 "
            "보강하면 회복될 수 있습니다.",
        ),
        "motion_frozen": Phrase(
            "Videos stand still where the baseline's move (scenarios: {scenarios}, the first {scenario}). "
            "Train on clips that move and on more frames; still or repeated frames in the training set "
            "teach this.",
            "기준 영상은 움직이는데 화면이 멈춘 영상이 있습니다(시나리오 {scenarios}개, 첫 번째 "
            "{scenario}). 움직임이 있는 클립과 더 많은 프레임으로 학습하세요. 정지하거나 반복되는 프레임이 "
            "섞인 데이터가 흔한 원인입니다.",
        ),
        "motion_lost": Phrase(
            "{scenario}: {metrics} fell by {loss:.1%}. Train on clips with more motion, or on more frames.",
            "{scenario}: {metrics} 값이 {loss:.1%} 줄었습니다. 움직임이 큰 클립을 늘리거나 프레임 수를 "
            "늘려 학습하세요.",
        ),
        "sharpness_lost": Phrase(
            "{scenario}: {metrics} fell by {loss:.1%}. Look for training clips that are blurred, or smaller "
            "than the training size.",
            "{scenario}: {metrics} 값이 {loss:.1%} 떨어졌습니다. 학습 클립 중 흐리거나 학습 해상도보다 "
            "작은 것이 있는지 확인하세요.",
        ),
        "color_lost": Phrase(
            "{scenario}: {metrics} fell by {loss:.1%}. The palette of the training set may have taken over: "
            "mix in clips of other colours, or lower the scale.",
            "{scenario}: {metrics} 값이 {loss:.1%} 떨어졌습니다. 학습 데이터의 색감에 치우쳤을 수 있으니 "
            "색 구성이 다른 클립을 섞거나 scale을 낮추세요.",
        ),
        "prompt_lost": Phrase(
            "{scenario}: {metrics} fell by {loss:.1%}, so the prompt is followed less. Check that the "
            "captions of the training set say what its videos show; a lower scale tells how much the LoRA "
            "overrides.",
            "{scenario}: {metrics} 값이 {loss:.1%} 떨어져 프롬프트 반영도가 낮아졌습니다. 학습 캡션이 영상 "
            "내용과 맞는지 확인하고, scale을 낮춰 LoRA의 영향이 얼마나 큰지 살펴보세요.",
        ),
        "overfit": Phrase(
            "{metrics} was better in {earlier} (change to the worse {before:+.1%}, now {now:+.1%}): the "
            "training has gone past its best. Take the earlier checkpoint, or lower the learning rate.",
            "{metrics}: {earlier}에서 더 좋았습니다(기준 대비 악화율 {before:+.1%} → {now:+.1%}). 과적합이 "
            "의심되므로 이전 체크포인트를 쓰거나 학습률을 낮추세요.",
        ),
        "keep_training": Phrase(
            "Each checkpoint lost less than the one before (mean loss {before:+.2f} to {now:+.2f} of a fail "
            "band): train on.",
            "체크포인트가 진행될수록 평균 악화가 줄고 있습니다(실패 허용폭 대비 {before:+.2f} → "
            "{now:+.2f}). 추가 학습을 권장합니다.",
        ),
        "suspicious": Phrase(
            "{scenario}: {metrics} rose so much that noise, flicker or a frozen picture may be behind it. "
            "Look at the videos before you believe it.",
            "{scenario}: {metrics} 상승폭이 지나치게 큽니다. 노이즈, 깜빡임, 정지 화면 때문일 수 있으니 "
            "영상을 직접 확인하세요.",
        ),
        "more_seeds": Phrase(
            "Beyond the fail band on weak evidence: {items} ({metrics}). About {enough} seeds a scenario "
            "may be enough, at most {most} were allowed. Raise seeds.most of the suite, measure "
            "the baseline anew, then gate again.",
            "실패 기준을 넘었으나 근거가 약한 항목이 {items}개입니다({metrics}). 시나리오당 시드가 약 "
            "{enough}개면 판정할 수 있습니다(현재 최대 {most}개). 스위트의 seeds.most 값을 늘리고 기준을 "
            "다시 측정한 뒤 재실행하세요.",
        ),
        "allow_seeds": Phrase(
            "Beyond the fail band on weak evidence: {items} ({metrics}). About {enough} seeds a scenario "
            "may be enough, at most {most} were allowed. Allow as many: --wanlora-seeds, or "
            "seeds.most of the suite.",
            "실패 기준을 넘었으나 근거가 약한 항목이 {items}개입니다({metrics}). 시나리오당 시드가 약 "
            "{enough}개면 판정할 수 있습니다(현재 최대 {most}개). --wanlora-seeds 옵션이나 스위트의 "
            "seeds.most 값으로 시드를 늘려 다시 실행하세요.",
        ),
        "seeds_cannot_settle": Phrase(
            "Checks that even 10,000 videos would not settle: {items} ({metrics}). Decide by eye, or widen "
            "the band.",
            "비디오가 10,000개를 넘어도 판정하기 어려운 항목이 {items}개입니다({metrics}). 영상을 보고 "
            "판단하거나 허용 범위를 넓히세요.",
        ),
        "few_seeds": Phrase(
            "Checks with too few videos for a test (the fewest: {least}), so that the band alone decides and "
            "no loss can be proven: {items}. Let seeds.most of the suite be {fewest} or more.",
            "비디오 수가 적어(최소 {least}개) 통계 검정 없이 허용 범위만 적용했으며 악화를 입증할 수 없는 "
            "항목이 {items}개입니다. 스위트의 seeds.most 값을 {fewest} 이상으로 설정하세요.",
        ),
        "band_below_noise": Phrase(
            "Bands narrower than chance: {bands}. The widest gap is {metrics} of {scenario}, which varies "
            "by {floor:.1%} at {n} seeds while its fail band is {band:.1%}. Widen the band, or take about "
            "{enough} seeds.",
            "우연한 변동보다 허용 범위가 좁은 항목이 {bands}개입니다. 차이가 가장 큰 항목은 {scenario}의 "
            "{metrics}: 시드 {n}개에서 우연 변동 {floor:.1%}, 실패 기준 {band:.1%}. 허용 범위를 넓히거나 "
            "시드를 약 {enough}개로 늘리세요.",
        ),
        "unfused": Phrase(
            "Only {survives:.1%} of the LoRA survives rounding when it is fused. Set sampling.lora_mode of "
            "the suite to unfused.",
            "fuse 과정의 반올림 후 LoRA 변화량의 {survives:.1%}만 남습니다. 스위트의 sampling.lora_mode 값을 "
            "unfused로 바꾸세요.",
        ),
        "expert_names": Phrase(
            "{words}. The files were applied as they were given. If the names are right, gate them the other "
            "way round; else rename the files before they are published.",
            "{words}. 파일은 지정한 대로 적용했습니다. 파일 이름이 맞다면 서로 바꾸어 다시 검사하고, 이름이 "
            "틀렸다면 배포하기 전에 고치세요.",
        ),
        "idle_targets": Phrase(
            "{words}. See which they are. If they were to be trained, train them, or save the LoRA in a type "
            "that holds so small an update.",
            "{words}. 어느 레이어인지 확인하세요. 학습 대상이었다면 다시 학습하거나, 작은 변화도 담을 수 "
            "있는 형식으로 저장하세요.",
        ),
        "unclear_alpha": Phrase(
            "{words}. Other programs may apply it at another strength. See what the file holds, and save it "
            "again with the alpha of each target.",
            "{words}. 프로그램마다 적용 강도가 달라질 수 있습니다. 파일 내용을 확인하고 모든 레이어의 alpha "
            "값과 함께 다시 저장하세요.",
        ),
        "file_warning": Phrase("{words}. See what the file holds.", "{words}. 파일 내용을 확인하세요."),
        "targets_open": Phrase(
            "Targets that are not reached: {open} of {targets} ({metrics}). They are aims of the training "
            "and gate nothing.",
            "목표 {targets}개 중 {open}개를 달성하지 못했습니다({metrics}). 목표는 학습 방향을 나타낼 뿐 "
            "배포 판정에는 쓰이지 않습니다.",
        ),
    }
)
