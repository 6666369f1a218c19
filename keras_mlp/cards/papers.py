"""Where an architecture was published."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Paper:
    """Where an architecture was published."""

    title: str
    authors: str
    year: int
    url: str

    def __str__(self):
        return f"{self.authors}, “{self.title}”, {self.year}, {self.url}"
