"""Certificates: measurements of a trained model, and how they are read and written.

Nothing here needs JAX, unlike `interpbench_jax.certificates.measure.certify`, which makes one.
"""

from interpbench_jax.bars import BARS as BARS
from interpbench_jax.bars import Bars as Bars
from interpbench_jax.certificates.certificate import CERTIFICATE_FILE as CERTIFICATE_FILE
from interpbench_jax.certificates.certificate import Certificate as Certificate
from interpbench_jax.certificates.certificate import read_certificate as read_certificate
from interpbench_jax.certificates.parts import CircuitAlone as CircuitAlone
from interpbench_jax.certificates.parts import EdgeCheck as EdgeCheck
from interpbench_jax.certificates.parts import EdgeEffect as EdgeEffect
from interpbench_jax.certificates.parts import NodeEffect as NodeEffect
from interpbench_jax.certificates.parts import Separation as Separation
