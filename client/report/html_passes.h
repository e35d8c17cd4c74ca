// The page's sections about passes: what each changed, layer by layer, and what it tried.
#pragma once

#include <string>

#include "modelpress/v1/report.pb.h"

namespace modelpress {

std::string HtmlPasses(const v1::Report& report);

}  // namespace modelpress
