// A job's report as one web page: what a person would rather look at than read.
#pragma once

#include <string>

#include "modelpress/v1/report.pb.h"

namespace modelpress {

// A whole HTML document with its style and drawings (SVG) inside: no script, and nothing that is fetched from anywhere.
// Names from the model are escaped. Says everything that RenderReport says, and every layer.
std::string RenderHtmlReport(const v1::Report& report);

}  // namespace modelpress
