"""Reports: one self-contained HTML file, and the panel that notebooks show.

No network; images are PNG, in colors for light and for dark pages. The page of a report is whole
without its script, which switches classes, scales and signs, opens maps large, and keeps what is
chosen in the address.
"""

from pellucid.report.board import write_board
from pellucid.report.document import Section, write
from pellucid.report.evidence import judged, with_evidence
from pellucid.report.image import is_ours, png
from pellucid.report.panel import panel
from pellucid.report.survey import write_survey

__all__ = [
    "Section",
    "is_ours",
    "judged",
    "panel",
    "png",
    "with_evidence",
    "write",
    "write_board",
    "write_survey",
]
