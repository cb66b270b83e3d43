"""The only reader of pickles: `python -I unpickle.py CHECKPOINT FOLDER KEY...` writes each dictionary of tensors as FOLDER/KEY.safetensors.

The key `all` is the file's own dictionary. It runs in a process of its own, imports nothing of this project, and reads with
`weights_only=True`: tensors and plain containers, no other class.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file


def main(checkpoint: str, folder: str, keys: list[str]) -> None:
    """Write the named dictionaries; SystemExit says what is missing."""
    tree = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if not isinstance(tree, dict):
        raise SystemExit(f"it holds a {type(tree).__name__}, not a dictionary")
    for key in keys:
        found = tree if key == "all" else tree.get(key)
        if not isinstance(found, dict):
            raise SystemExit(f"it has no {key!r}; it has {', '.join(map(str, list(tree)[:8])) or 'nothing'}")
        tensors = {str(name): value.detach().clone().contiguous() for name, value in found.items() if isinstance(value, torch.Tensor)}
        save_file(tensors, Path(folder) / f"{key}.safetensors")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
