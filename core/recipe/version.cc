// The version of modelpress.
#include "core/recipe/run.h"

namespace modelpress {

std::string_view Version() { return MODELPRESS_VERSION; }

}  // namespace modelpress
