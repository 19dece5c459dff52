"""The charts of a report: each a Vega-Lite specification, the inputs it obeys, and a text."""
