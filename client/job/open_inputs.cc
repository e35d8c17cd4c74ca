// The files of a job: see open_inputs.h.
#include "client/job/open_inputs.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/formats/input_files.h"

namespace modelpress {
namespace {

absl::Status OpenFurther(const std::string& path, std::string folder, JobInputs* inputs,
                         InputFile* further) {
  if (path.empty()) return absl::OkStatus();
  MP_ASSIGN_OR_RETURN(const InputFiles files, OpenModelFiles(path));
  // The model's own external data may lie in a folder of that name.
  const auto taken = [&](const InputFile& file) { return file.name.starts_with(folder + "/"); };
  while (std::ranges::any_of(inputs->model.sidecars, taken)) folder += "_";
  *further = {absl::StrCat(folder, "/", files.main.name), files.main.file};
  for (const InputFile& sidecar : files.sidecars) {
    inputs->model.sidecars.push_back({absl::StrCat(folder, "/", sidecar.name), sidecar.file});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<JobInputs> OpenInputs(const JobRequest& request) {
  JobInputs inputs;
  MP_ASSIGN_OR_RETURN(inputs.model, OpenModelFiles(request.model_path));
  MP_RETURN_IF_ERROR(OpenFurther(request.student_path, "student", &inputs, &inputs.student));
  MP_RETURN_IF_ERROR(OpenFurther(request.graph_path, "graph", &inputs, &inputs.graph));
  inputs.data_path = request.data_path;
  return inputs;
}

}  // namespace modelpress
