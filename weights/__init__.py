"""The maintainers' workshop: tables of what is published, mirrors of it. Run from the repository's root."""
