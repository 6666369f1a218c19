"""What the cases of detection store, computed by ours: each field under its own key. One file a kind."""

from tasks.detection.reference import detectors, measured, parts, regions

KINDS = detectors.KINDS | measured.KINDS | parts.KINDS | regions.KINDS
