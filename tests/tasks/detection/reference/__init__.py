"""What the cases of detection store, computed by ours: each field under its own key. One file a kind."""

from tasks.detection.reference import measured, parts, regions

KINDS = measured.KINDS | parts.KINDS | regions.KINDS
