"""The demo page: pictures that are drawn or picked, classified live by an engine, layer by layer beside the reference.

`Classifier` asks the engine, `Api` speaks JSON, `DemoServer` speaks HTTP, to this machine alone.
"""

from evenstep_sim.web.api import Api
from evenstep_sim.web.classifier import Classification, Classifier, Difference, LayerResult
from evenstep_sim.web.server import DemoServer

__all__ = ["Api", "Classification", "Classifier", "DemoServer", "Difference", "LayerResult"]
