"""Every kernel with its pointers' element types and its constants, as the doors launch it at the deployed sizes."""

from typing import Any, NamedTuple

STORAGES = ("fp32", "fp16", "bf16")
FLOATS = ("centre_x", "centre_y", "half")  # scalars that are float32; other scalars are int32


class Plan(NamedTuple):
    """One kernel to compile, of one operator."""

    operator: str
    storage: str
    kernel: Any
    pointers: dict[str, str]
    constants: dict[str, Any]


def plans(storage: str) -> list[Plan]:
    """All kernels for one type of storage."""
    made = {
        "sparse_motion": _sparse_motion, "dense_warp": _dense_warp, "picture_warp": _picture_warp, "warp": _warp, "residual_norm": _residual_norm,
        "window_attention": _window_attention, "attention": _attention, "memory_read": _memory_read, "sync_distance": _sync_distance,
    }  # fmt: skip
    return [Plan(operator, storage, *plan) for operator, make in made.items() for plan in make(storage)]


Parts = list[tuple[Any, dict[str, str], dict[str, Any]]]  # kernel, pointers, constants


def _kinds(own: str, own_names: str, wide_names: str = "") -> dict[str, str]:
    """Pointers of the storage's type, and those that are always float32."""
    return dict.fromkeys(own_names.split(), own) | dict.fromkeys(wide_names.split(), "fp32")


def _sparse_motion(storage: str) -> Parts:
    from kernels.sparse_motion import kernel

    some = _kinds(storage, "picture source driving maps out grad", "grad_picture grad_parts")
    modes = [{"VARIANCE": 0.01, "CORNERS": corners, "ALIGN": False, "BLOCK": 256} for corners in (False, True)]
    return [(one, some, mode) for one in (kernel._sparse_forward, kernel._sparse_backward) for mode in modes]


def _dense_warp(storage: str) -> Parts:
    from kernels.dense_warp import kernel

    some = _kinds(storage, "feature masks maps occlusion out grad grad_masks", "flow logsum grad_flow grad_feature grad_maps grad_occlusion")
    made: Parts = []
    for corners in (False, True):
        modes = {"HAS_OCCLUSION": True, "CORNERS": corners, "ALIGN": False, "BORDER": False, "BLOCK": 256}
        made += [(kernel._dense_forward, some, modes | {"GROUP": kernel.GROUP}), (kernel._dense_backward, some, modes)]
    return made


def _picture_warp(storage: str) -> Parts:
    from kernels.dense_warp import picture_kernel

    some = _kinds(storage, "picture flow painted alpha out")
    return [(picture_kernel._picture_forward, some, {"RIM": 0.16, "APART": apart, "BLOCK": picture_kernel.BLOCK}) for apart in (False, True)]


def _warp(storage: str) -> Parts:
    from kernels.warp import kernel

    some = _kinds(storage, "grad feature flow occlusion out", "grad_feature grad_flow grad_occlusion")
    made: Parts = []
    for border in (False, True):
        modes = {"HAS_OCCLUSION": True, "ALIGN": border, "BORDER": border, "BLOCK": 256}
        made += [(kernel._warp_forward, some, modes), (kernel._warp_backward, some, modes)]
    return made


def _residual_norm(storage: str) -> Parts:
    """AVCT's published width, 512."""
    from kernels.residual_norm import kernel

    some = _kinds(storage, "x residual weight bias out grad grad_x", "mean scale grad_weight grad_bias")
    sizes = {"ROWS": kernel.TILE // 512, "BLOCK": 512}
    return [(kernel._norm_forward, some, sizes | {"EPS": 1e-5}), (kernel._norm_backward, some, sizes)]


def _window_attention(storage: str) -> Parts:
    """AVCT's published sizes: 8 heads of 64, windows of 11 steps."""
    from kernels.window_attention import kernel

    some = _kinds(storage, "q k v pq pk pv out")
    terms = {"SCALE": 0.125, "HAS_PQ": True, "HAS_PK": True, "HAS_PV": True, "WIDTH": 64}
    return [
        (kernel._window_every, some, terms | {"UPCAST": False, "STEPS": 16}),
        (kernel._window_centre, some, terms | {"WINDOWS": kernel.WINDOWS}),
    ]


def _attention(storage: str) -> Parts:
    """Heads of 64, at the window's length and at lengths that fill the tiles."""
    from kernels.attention import kernel

    some = _kinds(storage, "grad q k v out grad_q grad_k grad_v", "logsum mean") | {"seen": "i1"}
    by_query = kernel._attention_forward, kernel._attention_backward_means, kernel._attention_backward_queries
    modes = {"SCALE": 0.125, "HAS_MASK": True, "CAUSAL": True, "UPCAST": False, "WIDTH": 64}
    made: Parts = []
    for mine, walked in (kernel.LONG_NARROW[4 if storage == "fp32" else 2], (kernel.SHORT, kernel.SHORT)):
        made += [(one, some, modes | {"ROWS": mine, "COLUMNS": walked}) for one in by_query]
        made += [(kernel._attention_backward_keys, some, modes | {"ROWS": walked, "COLUMNS": mine})]
    return made


def _memory_read(storage: str) -> Parts:
    """SyncTalkFace's memory."""
    from kernels.memory_read import kernel

    own = "query keys values recall address grad_recall grad_address grad_query grad_keys grad_values"
    some = _kinds(storage, own, "cosine stats key_norm slope grad_cosine")
    sizes, kappa = {"SLOTS": kernel.SLOTS, "WIDTH": kernel.WIDTH}, {"KAPPA": 16.0}
    return [
        (kernel._memory_cosines, some, sizes),
        (kernel._memory_recall, some, sizes | kappa),
        (kernel._memory_slopes, some, sizes),
        (kernel._memory_query_backward, some, sizes | kappa),
        (kernel._memory_slots_backward, some, sizes | kappa | {"ROWS": kernel.ROWS}),
    ]


def _sync_distance(storage: str) -> Parts:
    """The 31 distances of the published and of this project's protocol."""
    from kernels.sync_distance import kernel

    some = _kinds(storage, "video audio own other grad_own", "out grad distance")
    made: Parts = []
    for zeros in (False, True):
        modes = {"ZEROS": zeros, "OFFSETS": kernel.OFFSETS, "WIDTH": kernel.WIDTH}
        made += [(kernel._sync_forward, some, modes), *((kernel._sync_backward, some, modes | {"MIRRORED": mirrored}) for mirrored in (False, True))]
    return made
