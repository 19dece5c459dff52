"""Entry points: `fedunlearn withdraw | compare | plot`; nothing else imports Hydra."""
