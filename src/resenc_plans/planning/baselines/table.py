"""The baselines: the systems of nnU-Net Revisited in the order of its table, and variants.

Names are those of the study's likely settings; where the study's authors published no trainer, the
settings are those of the baseline trainers that the same group published with MedNeXt.
"""

from dataclasses import replace

from resenc_plans.planning.baselines.baseline import Baseline, Nearness
from resenc_plans.planning.baselines.networks import (
    cotr,
    dints,
    mednext,
    nnformer,
    planned_unet,
    segresnet,
    stunet,
    stunet_weights,
    swin_unetr,
    u_mamba,
)
from resenc_plans.planning.baselines.sizes import SizesRecipe
from resenc_plans.planning.presets import find_preset
from resenc_plans.plans.training_settings import (
    SGD,
    AdamW,
    CosineSchedule,
    DiceCrossEntropyLoss,
    DiceFocalLoss,
    PolynomialSchedule,
    TrainingSettings,
)

_REVISITED = "Isensee et al. 2024, nnU-Net Revisited, MICCAI, arXiv 2404.09556"
_SWIN = "Hatamizadeh et al. 2021, Swin UNETR, BrainLes"
_SWIN_V2 = "He et al. 2023, SwinUNETR-V2, MICCAI"
_NNFORMER = "Zhou et al. 2021, nnFormer, arXiv 2109.03201"
_COTR = "Xie et al. 2021, CoTr, MICCAI, arXiv 2103.03024"
_U_MAMBA = "Ma et al. 2024, U-Mamba, arXiv 2401.04722"
_AUTO3DSEG = "Auto3DSeg, MONAI 1.3.0"

_MEDNEXT_CODE = "github.com/MIC-DKFZ/MedNeXt at 0b78ed8"
_MONAI_CODE = "github.com/Project-MONAI/MONAI"
_STUNET_CODE = "github.com/uni-medical/STU-Net at 0652eaf"
_NNFORMER_CODE = "github.com/282857341/nnFormer at d48aaeb"
_COTR_CODE = "github.com/YtongXie/CoTr at 521b4cc"
_U_MAMBA_CODE = "github.com/bowang-lab/U-Mamba"
_TEMPLATES = "Project-MONAI/research-contributions, auto3dseg/algorithm_templates at 0122b72"
_GROUP = "MIC-DKFZ/MedNeXt, nnunet_mednext/training/network_training/nnUNet_variants/baselines"

_APACHE = "Apache-2.0"

STUDY_CHANNELS = 4
"""Those of BraTS, the most among the study's datasets."""

_ONE_MM = SizesRecipe(spacing=(1.0, 1.0, 1.0), patch=(128, 128, 128), batch=2)

_NO_TRAINER = (
    "The study's trainer is not published; patch, batch and learning rate are those of the "
    "group's baseline trainer."
)
_BATCH_2 = "The batch: nnU-Net v1's planner computes it, 2 as a rule; here it is always 2."


def _adamw(
    learning_rate: float, *, deep_supervision: bool = True, checkpointing: bool = False
) -> TrainingSettings:
    """The group's trainers for nnU-Net v1: AdamW with an eps for fp16, the rest nnU-Net's."""
    chosen: dict[str, object] = {
        "learning_rate": learning_rate,
        "optimizer": AdamW(weight_decay=3e-5, eps=1e-4),
    }
    if not deep_supervision:
        chosen["deep_supervision"] = False
    if checkpointing:
        chosen["activation_checkpointing"] = True
    return TrainingSettings.model_validate(chosen)


def _preset(name: str, key: str, title: str, system: str) -> Baseline:
    return Baseline(
        name=name,
        plans_name=find_preset(key).plans_name,
        title=title,
        citation="Isensee et al. 2021, nnU-Net, Nature Methods 18(2)"
        if key == "default"
        else _REVISITED,
        code="github.com/MIC-DKFZ/nnUNet",
        licence=_APACHE,
        sizes=SizesRecipe(key),
        network=planned_unet,
        nearness="exact",
        sources=("nnU-Net 2.8.1: its plans, equal for every fingerprint that was compared",),
        system=system,
        dims=(2, 3),
        has_cascade=True,
    )


def _mednext(variant: str, kernel: int, parameters: int) -> Baseline:
    is_large = variant in "ML"
    unknown = [_BATCH_2]
    if kernel == 5:
        unknown += [
            "The learning rate of kernels of 5: classes with 5e-4, 2.5e-4 and 1e-4 exist beside "
            "1e-3, which the published table names first.",
            "Whether kernels of 5 started from trained kernels of 3 (UpKern): the study's table "
            "says that all systems were trained from scratch.",
        ]
    return Baseline(
        name=f"mednext-{variant.lower()}-k{kernel}",
        plans_name=f"nnUNetMedNeXt{variant}k{kernel}Plans",
        title=f"MedNeXt {variant}, kernels of {kernel}",
        citation="Roy et al. 2023, MedNeXt, MICCAI",
        code=_MEDNEXT_CODE,
        licence=_APACHE,
        sizes=_ONE_MM,
        network=mednext(variant, kernel),
        nearness="same network" if variant == "L" else "not in the study",
        training=_adamw(1e-3, checkpointing=is_large),
        differences=(
            "Preprocessing is nnU-Net v2's; the authors' is that of nnU-Net v1.",
            "The network is rebuilt from a description; weights of the authors load into it.",
        ),
        unknown=tuple(unknown),
        sources=(
            "MIC-DKFZ/MedNeXt at 0b78ed8, nnUNetTrainerV2_MedNeXt.py",
            "its planner of a target spacing of 1x1x1 mm",
        ),
        system=f"MedNeXt L k{kernel}" if variant == "L" else None,
        parameters=parameters,
        channels=STUDY_CHANNELS,
    )


def _stunet(variant: str, parameters: int) -> Baseline:
    return Baseline(
        name=f"stu-net-{variant.lower()}",
        plans_name=f"nnUNetSTUNet{variant}Plans",
        title=f"STU-Net {variant}",
        citation="Huang et al. 2023, STU-Net, arXiv 2304.06716",
        code=_STUNET_CODE,
        licence=_APACHE,
        sizes=SizesRecipe(),
        network=stunet(variant),
        nearness="re-implemented",
        scale_weights=stunet_weights,
        differences=(
            "The network is rebuilt from a description; weights of the authors load into it.",
        ),
        unknown=(
            "The initial weights: the code for nnU-Net v1 draws them by He's rule with slope 0.01, "
            "as here; that for v2.2 leaves PyTorch's.",
        ),
        sources=("uni-medical/STU-Net, STUNetTrainer.py of v1.7.1 and v2.2",),
        system=f"STU-Net {variant}",
        parameters=parameters,
        channels=STUDY_CHANNELS,
    )


_SWIN_UNETR = Baseline(
    name="swin-unetr",
    plans_name="nnUNetSwinUNETRPlans",
    title="Swin UNETR, 48 features",
    citation=_SWIN,
    code=_MONAI_CODE,
    licence=_APACHE,
    sizes=_ONE_MM,
    network=swin_unetr(),
    nearness="same network",
    training=_adamw(1e-4, deep_supervision=False),
    differences=("Preprocessing is nnU-Net v2's; the group's trainer is for nnU-Net v1.",),
    unknown=(
        _NO_TRAINER,
        "The learning rate: the group's trainers have 1e-4 in one class, 5e-4 in another and 1e-3 "
        "in the base class.",
        "The batch: the published 13.1 GB fit a batch of 96x96x96 twice or 128x128x128 once, not "
        "128x128x128 twice.",
    ),
    sources=(f"{_GROUP}/nnUNetTrainerV2_SwinUNETR.py",),
    system="SwinUNETR",
    parameters=62_187_296,
    channels=STUDY_CHANNELS,
    extra="monai",
)

_NNFORMER_TUMOR = Baseline(
    name="nnformer",
    plans_name="nnUNetnnFormerPlans",
    title="nnFormer, the variant for tumours",
    citation=_NNFORMER,
    code=_NNFORMER_CODE,
    licence="MIT",
    sizes=_ONE_MM,
    network=nnformer("tumor"),
    nearness="re-implemented",
    training=_adamw(5e-5, deep_supervision=False),
    differences=("Preprocessing is nnU-Net v2's; the group's trainer is for nnU-Net v1.",),
    unknown=(
        _NO_TRAINER,
        _BATCH_2,
        "The variant: 5.7 GB and 8 hours fit that for tumours (embedding of 96, no deep "
        "supervision) and exclude the one of 150 million parameters.",
    ),
    sources=(f"{_GROUP}/nnUNetTrainerV2_nnFormer.py",),
    system="nnFormer",
    parameters=37_664_288,
    channels=STUDY_CHANNELS,
)

_EXCHANGED_AXES = (
    "As in the public code, attention samples with its axes exchanged (`exchanged_axes`); the "
    "network's default is the order that was meant."
)
_COTR_GROUP = Baseline(
    name="cotr",
    plans_name="nnUNetCoTrPlans",
    title="CoTr",
    citation=_COTR,
    code=_COTR_CODE,
    licence="GPL-3.0",
    sizes=_ONE_MM,
    network=cotr,
    nearness="re-implemented",
    training=_adamw(5e-4),
    differences=(
        "Preprocessing is nnU-Net v2's; the group's trainer is for nnU-Net v1.",
        _EXCHANGED_AXES,
    ),
    unknown=(
        _NO_TRAINER,
        _BATCH_2,
        "The sizes of the targets at 128x128x128, where the plan's first pooling is not that of "
        "the network.",
    ),
    sources=(f"{_GROUP}/nnUNetTrainerV2_CoTr.py",),
    system="CoTr",
    parameters=41_872_504,
    channels=STUDY_CHANNELS,
)


def _u_mamba(name: str, title: str, system: str | None, parameters: int) -> Baseline:
    ending, network = {
        "no-mamba-base": ("NoMambaBase", u_mamba("none")),
        "u-mamba-bot": ("UMambaBot", u_mamba("bot")),
        "u-mamba-enc": ("UMambaEnc", u_mamba("enc")),
        "u-mamba-bot-v2": ("UMambaBotV2", u_mamba("bot", 2)),
        "u-mamba-enc-v2": ("UMambaEncV2", u_mamba("enc", 2)),
    }[name]
    is_first = system is not None
    unknown = []
    if is_first and name != "no-mamba-base":
        unknown += [
            "The generation of the code: the study was submitted in March 2024, before the second "
            "appeared."
        ]
    if name == "no-mamba-base":
        unknown += ["Everything but that it is U-Mamba's network without Mamba."]
    if name == "u-mamba-enc":
        unknown += [
            "Whether it was trained in fp32: the authors' trainer without AMP exists because of "
            "losses that were not finite."
        ]
    return Baseline(
        name=name,
        plans_name=f"nnUNet{ending}Plans",
        title=title,
        citation=_U_MAMBA if name != "no-mamba-base" else _REVISITED,
        code=f"{_U_MAMBA_CODE} at {'548f3b2' if is_first else '28459e3'}",
        licence=_APACHE,
        sizes=SizesRecipe(),
        network=network,
        nearness="re-implemented" if is_first else "not in the study",
        differences=(
            "The scan is plain PyTorch unless mamba_ssm, whose kernel the authors use, is there.",
        )
        if name != "no-mamba-base"
        else (),
        unknown=tuple(unknown),
        sources=("bowang-lab/U-Mamba, its trainers for nnU-Net v2",),
        system=system,
        parameters=parameters,
        dims=(2, 3),
        channels=STUDY_CHANNELS,
    )


def _auto3dseg(
    name: str,
    plans_name: str,
    title: str,
    *,
    citation: str,
    template: str,
    system: str,
    parameters: int | None,
) -> Baseline:
    return Baseline(
        name=name,
        plans_name=plans_name,
        title=title,
        citation=f"{citation}; {_AUTO3DSEG}",
        code=f"{_MONAI_CODE}; {_TEMPLATES}",
        licence=_APACHE,
        sizes=_CROPS_OF_32,
        network=swin_unetr(),
        nearness="partly unknown",
        differences=_AUTO3DSEG_DIFFERENCES,
        sources=(f"{_TEMPLATES}, {template}",),
        system=system,
        parameters=parameters,
        channels=STUDY_CHANNELS,
        extra="monai",
    )


_AUTO3DSEG_DIFFERENCES = (
    "Preprocessing, augmentation, patch sampling and prediction are nnU-Net's. Auto3DSeg scales CT "
    "from the percentiles 0.5 and 99.5 of the foreground, and takes z-scores of MR over voxels "
    "that are not zero.",
)
_CROPS_OF_32 = SizesRecipe(spacing="median or 1 mm", patch=(96, 96, 96), multiple=32, batch=2)
_AUTO3DSEG_WARMUP = 3


def _auto3dseg_cosine() -> CosineSchedule:
    return CosineSchedule(warmup_epochs=_AUTO3DSEG_WARMUP, warmup_start=0.1)


_AUTO3DSEG_ROWS = (
    replace(
        _auto3dseg(
            "auto3dseg-segresnet",
            "nnUNetAuto3DSegSegResNetPlans",
            "SegResNet of Auto3DSeg",
            citation="Myronenko 2019, SegResNet, BrainLes",
            template="segresnet",
            system="A3DS SegResNet",
            parameters=87_170_008,
        ),
        sizes=SizesRecipe(spacing="through-plane", patch=(144, 224, 224), multiple=16, batch=1),
        network=segresnet,
        training=TrainingSettings(
            learning_rate=2e-4,
            optimizer=AdamW(weight_decay=1e-5),
            schedule=_auto3dseg_cosine(),
            loss=DiceCrossEntropyLoss(squared_denominator=True, background=True),
            gradient_clip=None,
        ),
        differences=(
            *_AUTO3DSEG_DIFFERENCES,
            "1000 epochs of 250 batches; Auto3DSeg has 80000 / cases epochs, from 300 to 1250.",
            "Of a batch of one, nnU-Net's sampling makes no patch certain to show foreground.",
        ),
        unknown=("Whether the study changed the template's settings.",),
    ),
    replace(
        _auto3dseg(
            "auto3dseg-dints",
            "nnUNetAuto3DSegDiNTSPlans",
            "DiNTS of Auto3DSeg, the published searched network",
            citation="He et al. 2021, DiNTS, CVPR",
            template="dints",
            system="A3DS DiNTS",
            parameters=152_361_390,
        ),
        network=dints,
        training=TrainingSettings(
            learning_rate=0.2,
            optimizer=SGD(momentum=0.9, nesterov=False, weight_decay=4e-5),
            schedule=PolynomialSchedule(exponent=0.5),
            loss=DiceFocalLoss(),
            gradient_clip=0.5,
            deep_supervision=False,
        ),
        differences=(
            *_AUTO3DSEG_DIFFERENCES,
            "1000 epochs of 250 batches of 2, where Auto3DSeg has 400 x a factor / batch epochs, "
            "and a batch by the GPU's memory: 11 crops for 40 GB and 14 classes.",
            "The learning rate falls after each epoch, in Auto3DSeg after each validation.",
        ),
        unknown=(
            "Whether the study searched a network of its own, and its batch.",
            "Nesterov's momentum, gamma of the focal loss, and whether the background counts.",
        ),
    ),
    replace(
        _auto3dseg(
            "auto3dseg-swin-unetr",
            "nnUNetAuto3DSegSwinUNETRPlans",
            "Swin UNETR of Auto3DSeg",
            citation=_SWIN,
            template="swinunetr",
            system="A3DS SwinUNETR",
            parameters=62_187_296,
        ),
        sizes=replace(_CROPS_OF_32, multiple=64),
        training=TrainingSettings(
            learning_rate=4e-4,
            optimizer=AdamW(weight_decay=1e-5),
            schedule=_auto3dseg_cosine(),
            gradient_clip=0.5,
            deep_supervision=False,
        ),
        differences=(
            *_AUTO3DSEG_DIFFERENCES,
            "1000 epochs of 250 batches of 2, where Auto3DSeg has 800000 / cases / (2 x batch) "
            "epochs, at most 1000, and a batch by the GPU's memory: 5 crops for 40 GB and 14 "
            "classes.",
        ),
        unknown=(
            "Whether it was trained from scratch, as the study's table says: the template starts "
            "from trained weights by default.",
            "Whether the background counts in the Dice; here not, as in nnU-Net.",
            f"The warm-up's length; here {_AUTO3DSEG_WARMUP} epochs, as of Auto3DSeg's SegResNet.",
        ),
    ),
)


def _variant(
    original: Baseline,
    name: str,
    plans_name: str,
    title: str,
    sizes: SizesRecipe,
    training: TrainingSettings,
    *,
    source: str,
    channels: int,
    parameters: int | None = None,
    unknown: tuple[str, ...] = (),
    differences: tuple[str, ...] = (),
) -> Baseline:
    """The system as another publication trained it."""
    nearness: Nearness = "not in the study"
    return replace(
        original,
        name=name,
        plans_name=plans_name,
        title=title,
        sizes=sizes,
        training=training,
        nearness=nearness,
        differences=("Preprocessing, augmentation and prediction are nnU-Net's.", *differences),
        unknown=unknown,
        sources=(source,),
        system=None,
        parameters=parameters,
        channels=channels,
    )


BASELINES: tuple[Baseline, ...] = (
    _preset("nnu-net", "default", "nnU-Net's plain U-Net", "nnU-Net (org.)"),
    _preset("resenc-m", "M", "U-Net with a residual encoder, 8 GB", "nnU-Net ResEnc M"),
    _preset("resenc-l", "L", "U-Net with a residual encoder, 24 GB", "nnU-Net ResEnc L"),
    _preset("resenc-xl", "XL", "U-Net with a residual encoder, 40 GB", "nnU-Net ResEnc XL"),
    _mednext("L", 3, 61_793_159),
    _mednext("L", 5, 63_006_791),
    _stunet("S", 14_551_350),
    _stunet("B", 58_171_942),
    _stunet("L", 440_121_606),
    _SWIN_UNETR,
    replace(
        _SWIN_UNETR,
        name="swin-unetr-v2",
        plans_name="nnUNetSwinUNETRV2Plans",
        title="Swin UNETR V2, 48 features",
        citation=_SWIN_V2,
        network=swin_unetr(use_v2=True),
        unknown=(
            *_SWIN_UNETR.unknown[:2],
            "The batch: the published 13.4 GB do not fit 128x128x128 twice.",
        ),
        sources=(
            *_SWIN_UNETR.sources,
            "He et al. 2023: trained as Swin UNETR",
        ),
        system="SwinUNETRV2",
        parameters=72_762_656,
    ),
    _NNFORMER_TUMOR,
    _COTR_GROUP,
    _u_mamba("no-mamba-base", "U-Mamba without Mamba", "No-Mamba Base", 57_740_582),
    _u_mamba(
        "u-mamba-bot", "U-Mamba, Mamba in the bottleneck, January 2024", "U-Mamba Bot", 58_416_422
    ),
    _u_mamba(
        "u-mamba-enc", "U-Mamba, Mamba in the encoder, January 2024", "U-Mamba Enc", 59_690_022
    ),
    *_AUTO3DSEG_ROWS,
    _mednext("S", 3, 5_564_807),
    _mednext("S", 5, 5_994_439),
    _mednext("B", 3, 10_540_199),
    _mednext("B", 5, 10_969_831),
    _mednext("M", 3, 17_562_855),
    _mednext("M", 5, 18_274_727),
    _variant(
        _SWIN_UNETR,
        "swin-unetr-btcv",
        "nnUNetSwinUNETRBTCVPlans",
        "Swin UNETR as its authors trained it on BTCV",
        SizesRecipe(spacing=(2.0, 1.5, 1.5), patch=(96, 96, 96), batch=4),
        TrainingSettings(
            epochs=5000,
            learning_rate=1e-4,
            optimizer=AdamW(weight_decay=1e-5),
            schedule=CosineSchedule(warmup_epochs=50),
            deep_supervision=False,
        ),
        source="Project-MONAI/research-contributions, SwinUNETR/BTCV/main.py",
        channels=1,
        parameters=62_187_296,
        unknown=(
            "What an epoch of 250 batches here is of theirs, which is one pass over the cases: a "
            "batch there is 4 crops of one image, here 4 patches of any.",
            "Loss and clipping of gradients; here nnU-Net's.",
        ),
    ),
    _variant(
        _SWIN_UNETR,
        "swin-unetr-u-mamba",
        "nnUNetSwinUNETRUMambaPlans",
        "Swin UNETR as U-Mamba's authors trained it",
        SizesRecipe(multiple=32),
        TrainingSettings(
            learning_rate=8e-4,
            optimizer=AdamW(eps=1e-5, weight_decay=0.01),
            schedule=CosineSchedule(floor=1e-6),
            precision="fp32",
            deep_supervision=False,
        ),
        source="bowang-lab/U-Mamba, nnUNetTrainerSwinUNETR.py",
        channels=STUDY_CHANNELS,
        parameters=62_187_296,
    ),
    _variant(
        replace(_NNFORMER_TUMOR, network=nnformer("synapse")),
        "nnformer-synapse",
        "nnUNetnnFormerSynapsePlans",
        "nnFormer as its authors trained it on Synapse",
        SizesRecipe(patch=(64, 128, 128), batch=2),
        TrainingSettings(scale_weights=(4 / 7, 2 / 7, 1 / 7)),
        source="282857341/nnFormer, its trainers and default_configuration.py",
        channels=1,
        parameters=150_054_210,
        unknown=("The target spacing. The authors started from trained weights.",),
    ),
    _variant(
        _COTR_GROUP,
        "cotr-original",
        "nnUNetCoTrOriginalPlans",
        "CoTr as its authors trained it on BCV",
        SizesRecipe(batch=2),
        TrainingSettings(),
        source="YtongXie/CoTr, nnUNetTrainerV2_ResTrans.py; the paper's patch is 48x192x192",
        channels=1,
        parameters=41_872_504,
        differences=(_EXCHANGED_AXES,),
    ),
    _u_mamba(
        "u-mamba-bot-v2", "U-Mamba, Mamba in the bottleneck, since March 2024", None, 42_130_054
    ),
    _u_mamba("u-mamba-enc-v2", "U-Mamba, Mamba in the encoder, since March 2024", None, 42_760_582),
)
"""The study's nineteen systems in the order of its table, then variants."""
