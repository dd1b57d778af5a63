"""What the paper prints in its Table 1."""

from __future__ import annotations

PUBLISHED = [  # Table 1 of the paper; FID is given in its section 5.2
    {"method": "CogVideo", "preferences": "21%", "realism": "24%", "resolution": "480x480", "clipsim": "0.7522",
     "fid": "384"},
    {"method": "LateNtMovies (ours)", "preferences": "79%", "realism": "76%", "resolution": "512x512",
     "clipsim": "0.7597", "fid": "164"},
]
