// A job's report as a table for people: what it cost, what it gained, what was left alone.
#pragma once

#include <string>
#include <vector>

#include "modelpress/v1/report.pb.h"

namespace modelpress {

// Every number of the report that a person decides by; never better than it is: synthetic data, slower results, clamped
// and skipped weights are said. Ends with a newline.
std::string RenderReport(const v1::Report& report);

// What a pass tried (tune), a row for each candidate below a heading, as plain text; empty if it tried nothing.
std::vector<std::vector<std::string>> TrailRows(const v1::PassReport& pass);

// Bytes and seconds of each step, for --plan.
std::string RenderPlan(const v1::Plan& plan);

}  // namespace modelpress
