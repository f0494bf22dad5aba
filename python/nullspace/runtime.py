"""Calls the entries of a compiled library (`ns-compile --emit=library`) with NumPy arrays: logits, losses, gradients.

    from nullspace import runtime
    model = runtime.Model("vit.so")
    logits = model.forward(images)                      # images: N x c x H x W in [0, 1]
    losses, logits, grads = model.value_and_grad(images, labels)

Any number of images: they run in batches of the compiled size, the last one padded with weight 0.
"""

import contextlib
import ctypes
import json
import os
import pathlib

import numpy as np

_DTYPES = {"f32": np.float32, "f64": np.float64, "i32": np.int32, "bf16": np.float32, "fp8": np.float32}  # of products only
_library = None


class NullspaceError(RuntimeError):
    """What libnsrt says went wrong."""


def library_paths() -> list[pathlib.Path]:
    """Where libnsrt.so may be, best first: $NSRT_LIBRARY, beside this file, the build tree, the installation."""
    here = pathlib.Path(__file__).resolve().parent
    given = os.environ.get("NSRT_LIBRARY")
    places = [here, here.parents[1] / "build" / "lib", here.parents[1] / "lib", here.parents[2] / "lib"]
    return [pathlib.Path(given)] if given else [place / "libnsrt.so" for place in places]


def _load() -> ctypes.CDLL:
    global _library
    if _library is not None:
        return _library
    if folder := os.environ.get("NSRT_TORCH_LIB"):  # LibTorch moved since the build
        for name in ("libgomp.so.1", "libc10.so", "libtorch_cpu.so"):
            ctypes.CDLL(os.path.join(folder, name), mode=ctypes.RTLD_GLOBAL)
    paths = library_paths()
    path = next((p for p in paths if p.exists()), None)
    if path is None:
        tried = ", ".join(map(str, paths))
        raise NullspaceError(f"cannot find libnsrt.so: build it, or set NSRT_LIBRARY; looked at {tried}")
    library = ctypes.CDLL(str(path))
    handle, text, out = ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p)
    for name, arguments, result in [
        ("nsrt_open", [text, out], ctypes.c_int),
        ("nsrt_close", [handle], None),
        ("nsrt_last_error", [], text),
        ("nsrt_load_weights", [handle, text, ctypes.c_int], ctypes.c_int),
        ("nsrt_save_weights", [handle, text], ctypes.c_int),
        ("nsrt_metadata", [handle], text),
        ("nsrt_slot", [handle, text, out, ctypes.POINTER(ctypes.c_uint64)], ctypes.c_int),
        ("nsrt_param", [handle, text, out, ctypes.POINTER(ctypes.c_uint64)], ctypes.c_int),
        ("nsrt_run", [handle, text], ctypes.c_int),
        ("nsrt_start", [handle, text], ctypes.c_int),
        ("nsrt_changed", [handle, text], ctypes.c_int),
        ("nsrt_set_threads", [handle, ctypes.c_int], ctypes.c_int),
        ("nsrt_profile_start", [handle], ctypes.c_int),
        ("nsrt_profile_end", [handle, text], ctypes.c_int),
        (
            "nsrt_attack",
            [handle, text, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64, ctypes.c_void_p],
            ctypes.c_int,
        ),
        (
            "nsrt_corrupt",
            [handle, ctypes.c_int, ctypes.c_int, text, ctypes.c_int, ctypes.c_uint64, text, text],
            ctypes.c_int,
        ),
    ]:
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
    _library = library
    return library


CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    *("speckle_noise", "gaussian_blur", "spatter", "saturate"),
)


def corrupt(image: np.ndarray, kind: str, severity: int, seed: int = 0, name: str = "", frost_dir=None) -> np.ndarray:
    """An image (H x W x 3, uint8, at least 16 x 16) under one of `CORRUPTIONS` at severity 1 to 5, by the tables for its
    size. The random numbers are those of (seed, name, kind, severity): `name` stands for the image."""
    result = np.array(image, dtype=np.uint8, order="C")
    if np.asarray(image).dtype != np.uint8 or result.ndim != 3 or result.shape[2] != 3:
        raise ValueError(f"expected an H x W x 3 array of uint8, found {np.asarray(image).dtype} {result.shape}")
    library = _load()
    folder = None if frost_dir is None else os.fsencode(frost_dir)
    status = library.nsrt_corrupt(
        result.ctypes.data, result.shape[1], result.shape[0], kind.encode(), severity, seed, name.encode(), folder
    )
    if status != 0:
        raise NullspaceError(library.nsrt_last_error().decode(errors="replace"))
    return result


class _Handle:
    """Owns the session; every view of its memory holds one of these."""

    def __init__(self, path: str):
        self.library, self.pointer = _load(), ctypes.c_void_p()
        self.check(self.library.nsrt_open(os.fsencode(path), ctypes.byref(self.pointer)))

    def check(self, status: int):
        if status != 0:
            raise NullspaceError(self.library.nsrt_last_error().decode(errors="replace"))

    def __del__(self):
        if getattr(self, "pointer", None):
            self.library.nsrt_close(self.pointer)


class _Memory:
    """A piece of the session's memory for NumPy's array interface."""

    def __init__(self, handle: _Handle, address: int, shape: tuple, dtype):
        self.handle = handle
        self.__array_interface__ = {
            "data": (address, False),
            "shape": shape,
            "typestr": np.dtype(dtype).str,
            "version": 3,
        }


class Model:
    """A compiled library with its weights: those it was compiled against, or the entries of another file."""

    def __init__(self, path, weights=None, threads: int | None = None):
        self._handle = _Handle(os.fspath(path))
        self.metadata = json.loads(self._handle.library.nsrt_metadata(self._handle.pointer))
        self._slots = {slot["name"]: slot for slot in self.metadata["slots"]}
        self._params = {param["name"]: param for param in self.metadata["params"]}
        self.batch = self.metadata["batch"]
        self.dtype = _DTYPES[self.metadata["precision"]]
        if threads is not None:
            self.set_threads(threads)
        self.load_weights(weights)

    def load_weights(self, path=None, ema: bool = True):
        """Reads a checkpoint (docs/executables.md lists the formats); `ema`: prefer averaged weights where it has both."""
        self._call("nsrt_load_weights", None if path is None else os.fsencode(path), int(ema))

    def save_weights(self, path):
        self._call("nsrt_save_weights", os.fsencode(path))

    def set_threads(self, count: int):
        self._call("nsrt_set_threads", count)

    def run(self, entry: str):
        """Runs an entry on what the slots hold."""
        self._call("nsrt_run", entry.encode())

    def start(self, entry: str):
        """Runs an entry without waiting for its end: the next `slot` of an output does. On the CPU it is `run`."""
        self._call("nsrt_start", entry.encode())

    @contextlib.contextmanager
    def profile(self, path):
        """Records what runs inside, and writes a trace (docs/executables.md) when it ends well:

        with model.profile("trace.json"):
            model.forward(images)
        """
        self._call("nsrt_profile_start")
        yield
        self._call("nsrt_profile_end", os.fsencode(path))

    def slot(self, name: str) -> np.ndarray:
        """A view of a slot (docs/abi.md); a scalar has shape (1,). On a GPU what entries wrote into region state after this
        call is seen in a view of a later one; who writes state through a view calls `changed`."""
        if name not in self._slots:
            raise NullspaceError(f"no slot '{name}'; there are {', '.join(sorted(self._slots))}")
        info = self._slots[name]
        return self._view("nsrt_slot", name, tuple(info["shape"]) or (1,), _DTYPES[info["dtype"]])

    def param(self, name: str) -> np.ndarray:
        """A view of a parameter; on a GPU as for `slot`."""
        if name not in self._params:
            raise NullspaceError(f"no parameter '{name}'")
        return self._view("nsrt_param", name, tuple(self._params[name]["shape"]), self.dtype)

    def changed(self, name: str):
        """After writing a parameter, or a slot of region state such as the noise, through its view. Does nothing on the CPU."""
        self._call("nsrt_changed", name.encode())

    def params(self) -> dict[str, np.ndarray]:
        return {name: self.param(name) for name in self._params}

    def param_grads(self) -> dict[str, np.ndarray]:
        """Views of the gradients that a finetune step left, by parameter."""
        flat, size = self.slot("params.grad").reshape(-1), np.dtype(self.dtype).itemsize
        grads = {}
        for name, info in self._params.items():
            if info.get("trainable", True):
                begin, count = info["offset"] // size, int(np.prod(info["shape"], dtype=np.int64))
                grads[name] = flat[begin : begin + count].reshape(info["shape"])
        return grads

    def forward(self, images, noise=None) -> np.ndarray:
        """Logits, N x K; of the noised images where a noise is given."""
        entry, output = ("forward", "logits") if noise is None else ("forward_noised", "noised_logits")
        self._set_noise(noise)
        return self._gather(images, entry, [output])[0]

    def clean_logits(self, images) -> np.ndarray:
        """The clean logits that `synth_gradient` compares with: those of `forward`, but of narrow products where its own are."""
        narrow = any(entry["name"] == "clean_logits" for entry in self.metadata["entries"])
        return self._gather(images, "clean_logits", ["clean_logits"])[0] if narrow else self.forward(images)

    def value_and_grad(self, images, labels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each image its cross-entropy, its logits, and the gradient of its loss by its pixels."""
        return tuple(self._gather(images, "value_and_grad", ["losses", "logits", "image_grad"], labels=labels))

    def attack(self, attack: str, images, labels, seed: int = 0) -> np.ndarray:
        """Which images stand an attack, written as for `evaluate --attack`; the attacked images of the last batch are in slot
        `image` then. images: N x H x W x 3, uint8."""
        images, labels = np.ascontiguousarray(images), np.ascontiguousarray(labels, np.int32)
        expected = (*self.slot("image").shape[2:], self.slot("image").shape[1])
        if images.dtype != np.uint8 or images.shape[1:] != expected or len(labels) != len(images):
            raise ValueError(
                f"expected uint8 images of shape N x {' x '.join(map(str, expected))} and N labels, "
                f"found {images.dtype} {images.shape} and {labels.shape}"
            )
        stands = np.empty(len(images), np.uint8)
        self._call(
            "nsrt_attack",
            attack.encode(),
            images.ctypes.data,
            labels.ctypes.data,
            len(images),
            seed,
            stands.ctypes.data,
        )
        return stands.astype(bool)

    def stop_test(self, images, clean_logits, noise=None) -> dict[str, np.ndarray]:
        """For each image logit_sq, prob_sq, conf_diff and same_argmax of noised against clean logits."""
        self._set_noise(noise)
        names = ["logit_sq", "prob_sq", "conf_diff", "same_argmax"]
        return dict(zip(names, self._gather(images, "stop_test", names, clean_logits=clean_logits)))

    def synth_gradient(self, images, clean_logits, noise, objective="logit_l2sq") -> tuple[float, np.ndarray]:
        """Mean synthesis loss over the images and its gradient by the noise."""
        self._set_noise(noise)
        entry = {"logit_l2sq": "synth_step", "logit_l2": "synth_step_l2"}[objective]
        loss = self._accumulate(images, entry, clean_logits=clean_logits)
        return loss, self.slot("noise.grad").copy()

    def finetune_gradients(self, images, labels, noise=None) -> tuple[float, dict[str, np.ndarray]]:
        """Mean cross-entropy over the images (of clean plus noised images where a noise is given) and its gradient by every
        trainable parameter."""
        self._set_noise(noise)
        loss = self._accumulate(images, "finetune_step" if noise is None else "finetune_step_noised", labels=labels)
        return loss, {name: grad.copy() for name, grad in self.param_grads().items()}

    def _call(self, function: str, *arguments):
        self._handle.check(getattr(self._handle.library, function)(self._handle.pointer, *arguments))

    def _view(self, function, name, shape, dtype):
        address, size = ctypes.c_void_p(), ctypes.c_uint64()
        self._call(function, name.encode(), ctypes.byref(address), ctypes.byref(size))
        if size.value == 0:
            return np.empty(shape, dtype)
        return np.asarray(_Memory(self._handle, address.value, shape, dtype))

    def _set_noise(self, noise):
        if noise is not None:
            name = self.metadata["noise"][0]["name"]
            slot = self.slot(name)
            slot[...] = np.asarray(noise).reshape(slot.shape)
            self.changed(name)

    def _batches(self, images, inputs: dict, weight: float):
        """Fills the input slots batch by batch; yields the slice of images each holds."""
        image = self.slot("image")
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[1:] != image.shape[1:]:
            raise ValueError(
                f"expected images of shape N x {' x '.join(map(str, image.shape[1:]))}, found {images.shape}"
            )
        for name, values in inputs.items():
            if len(values) != len(images):
                raise ValueError(f"expected {len(images)} rows of {name}, found {len(values)}")
        for first in range(0, len(images), self.batch):
            rows = slice(first, min(first + self.batch, len(images)))
            count = rows.stop - rows.start
            for name, values in {"image": images, **inputs}.items():
                slot = self.slot(name)
                slot[:count] = np.asarray(values)[rows]
                slot[count:] = 0
            if "weights" in self._slots:
                weights = self.slot("weights")
                weights[:count], weights[count:] = weight, 0
            yield rows

    def _gather(self, images, entry: str, outputs: list[str], **inputs) -> list[np.ndarray]:
        """Runs an entry over all images and collects rows of its outputs; weight 1 for each image."""
        found = [np.empty((len(images), *self.slot(name).shape[1:]), self.dtype) for name in outputs]
        for rows in self._batches(images, inputs, 1.0):
            self.run(entry)
            for array, name in zip(found, outputs):
                array[rows] = self.slot(name)[: rows.stop - rows.start]
        return found

    def _accumulate(self, images, entry: str, **inputs) -> float:
        """Runs a step's entry over all images as one step; the loss is their mean, gradients add up in the state."""
        if len(images) == 0:
            raise ValueError("expected at least one image, found none")
        loss = 0.0
        for rows in self._batches(images, inputs, 1.0 / len(images)):
            self.slot("accumulate")[...] = 0 if rows.start == 0 else 1
            self.run(entry)
            loss += float(self.slot("loss").reshape(-1)[0])
        return loss
