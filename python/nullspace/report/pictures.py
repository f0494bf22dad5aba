"""The same images in several versions: clean, noised, attacked, corrupted."""

import base64
import dataclasses
import html
import pathlib

from .. import UserError

SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclasses.dataclass
class Pictures:
    """Versions of some images: label -> name of an image -> its file."""

    versions: dict[str, dict[str, pathlib.Path]]

    @property
    def names(self) -> list[str]:
        """Of the images that every version has."""
        common = set.intersection(*(set(files) for files in self.versions.values())) if self.versions else set()
        return sorted(common)


def read_pictures(folders: list[tuple[str, str]]) -> Pictures:
    """PNG and JPEG files below each folder; their paths without the suffix tell which belong together. Raises UserError."""
    versions = {}
    for label, folder in folders:
        root = pathlib.Path(folder)
        found = {
            str(p.relative_to(root).with_suffix("")): p for p in sorted(root.rglob("*")) if p.suffix.lower() in SUFFIXES
        }
        if not found:
            raise UserError(f"--pictures {label}={folder}: expected PNG or JPEG files, found none")
        versions[label] = found
    pictures = Pictures(versions)
    if folders and not pictures.names:
        raise UserError(f"--pictures: no image is in all of {', '.join(folder for _, folder in folders)}")
    return pictures


def gallery(pictures: Pictures, most: int = 4) -> str:
    """A row for each image, its versions side by side."""
    rows = []
    for name in pictures.names[:most]:
        cells = []
        for label, files in pictures.versions.items():
            path = files[name]
            kind = "png" if path.suffix.lower() == ".png" else "jpeg"
            data = base64.b64encode(path.read_bytes()).decode()
            title = html.escape(f"{label}: {name}", quote=True)
            cells.append(
                f'<figure><img alt="{title}" src="data:image/{kind};base64,{data}">'
                f"<figcaption>{html.escape(label)}</figcaption></figure>"
            )
        rows.append(f'<div class="pictures">{"".join(cells)}</div>')
    return "".join(rows)
