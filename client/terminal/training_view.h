// Trainings and students of a pass as rows of tables, for the terminal and for the page.
#pragma once

#include <string>
#include <vector>

#include "modelpress/v1/pass_report.pb.h"

namespace modelpress {

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

}  // namespace modelpress
