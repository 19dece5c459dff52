"""What a run can show for each request that it served: a chain of certificates.

`certificate` says what one holds, `verdicts` judges its metrics, `encoding` writes it as JSON and
reads it back, `text` writes it for people, `chain` issues and verifies those of a run, and
`signature` says who issued them.
docs/certificates.md says what all this proves and what it does not.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
