"""Models from elsewhere to integer networks: of Brevitas, QKeras and FINN, in QONNX, and ONNX with QDQ nodes."""

from evenstep_golden.frontend.check import LayerCheck, check_import
from evenstep_golden.frontend.importer import Imported, import_model, import_network, is_own_file

__all__ = ["Imported", "LayerCheck", "check_import", "import_model", "import_network", "is_own_file"]
