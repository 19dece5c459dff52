from .files import files_of as files_of
from .findings import Channel as Channel
from .findings import Finding as Finding
from .fingerprints import Fingerprints as Fingerprints
from .fingerprints import Mark as Mark
from .fingerprints import taken as taken
from .search import Audit as Audit
from .search import audit as audit
