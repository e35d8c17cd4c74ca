// Locales that StringNormalizer asks for and this machine may not have.
#pragma once

#include "onnx/onnx_pb.h"

namespace modelpress {

// StringNormalizer names a locale, en_US.UTF-8 unless its attribute says another, and the runtime
// refuses the model where that is not installed; containers rarely have more than C.UTF-8. The
// operator uses it for upper and lower case only, and that mapping is Unicode's in every UTF-8
// locale of the GNU C library but the Turkic and Lithuanian ones. So where the named one is
// missing, the nodes of `proto` (a copy made for the runtime, never what is written) get C.UTF-8
// instead. Those of the exceptions stay, and the runtime's refusal names the locale.
void UseInstalledLocales(onnx::ModelProto& proto);

}  // namespace modelpress
