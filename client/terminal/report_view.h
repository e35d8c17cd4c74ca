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

// The curve of a training, a row for each look at the validation samples below a heading, as plain text; the row whose
// values were kept says so.
std::vector<std::vector<std::string>> TrainingRows(const v1::TrainingRun& run);
// "finetune: 1,500 steps of 4,000 samples in 12.3 s, values of step 1,425 kept, ...".
std::string TrainingTitle(const v1::TrainingRun& run);

// What distill tried, a row for each student below a heading, as plain text; empty if there is none. Numbers are those of
// the metric that students are held against, with its interval.
std::vector<std::vector<std::string>> StudentRows(const v1::PassReport& pass);
// That metric's estimate, of those of one student; null if there is none.
const v1::MetricEstimate* BoundEstimate(
    const google::protobuf::RepeatedPtrField<v1::MetricEstimate>& estimates);

// Bytes and seconds of each step, for --plan.
std::string RenderPlan(const v1::Plan& plan);

}  // namespace modelpress
