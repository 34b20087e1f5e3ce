"""Readers of finished answers: pages, timelines, explanations. They read documents and know no machine."""
