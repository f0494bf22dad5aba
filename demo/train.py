"""Trains the demo's model: a small timm ViT on scikit-learn's digits, enlarged to 32x32 RGB. Plain PyTorch, as a user's
own training would be; of Nullspace there is only the help for a CPU-only PyTorch beside torchvision.

usage: train.py DATA.npz CHECKPOINT.safetensors [--seed N]
"""

import argparse

from nullspace import _torchvision_shim  # noqa: F401  (comes before torchvision, which timm imports)

# isort: split
import numpy as np
import safetensors.torch
import sklearn.datasets
import timm
import torch
import torch.nn.functional as F

MODEL = "vit_tiny_patch16_224"
ARGUMENTS = dict(img_size=32, num_classes=10, patch_size=8, embed_dim=64, depth=4, num_heads=4)
EPOCHS, BATCH, VAL = 40, 64, 397


def make_data(path: str, seed: int) -> dict[str, np.ndarray]:
    digits = sklearn.datasets.load_digits()
    images = torch.from_numpy(digits.images).float().div(16).unsqueeze(1)
    images = F.interpolate(images, size=(32, 32), mode="bilinear").clamp(0, 1).mul(255).round()
    images = images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).byte().numpy()
    order = np.random.default_rng(seed).permutation(len(images))
    train, val = order[:-VAL], order[-VAL:]
    data = dict(x_train=images[train], y_train=digits.target[train], x_val=images[val], y_val=digits.target[val])
    np.savez(path, **data)
    return data


def accuracy(model, x, y) -> float:
    with torch.no_grad():
        return (model(x).argmax(1) == y).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    data = make_data(args.data, args.seed)
    model = timm.create_model(MODEL, **ARGUMENTS)
    mean, std = model.pretrained_cfg["mean"][0], model.pretrained_cfg["std"][0]
    x_train, x_val = (
        (torch.from_numpy(data[k]).permute(0, 3, 1, 2).float() / 255 - mean) / std for k in ("x_train", "x_val")
    )
    y_train, y_val = (torch.from_numpy(data[k]) for k in ("y_train", "y_val"))

    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    steps = EPOCHS * (len(x_train) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        for rows in torch.randperm(len(x_train)).split(BATCH)[: len(x_train) // BATCH]:
            shift = torch.randint(-2, 3, (2,)).tolist()
            loss = F.cross_entropy(model(x_train[rows].roll(shift, (2, 3))), y_train[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1:2}: val accuracy {100 * accuracy(model.eval(), x_val, y_val):.1f} %", flush=True)
            model.train()
    safetensors.torch.save_file({k: v.contiguous() for k, v in model.state_dict().items()}, args.checkpoint)


if __name__ == "__main__":
    main()
