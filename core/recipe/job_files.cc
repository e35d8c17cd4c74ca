// Which of a job's files belong to which of its models: see job_files.h.
#include "core/recipe/job_files.h"

#include <string_view>

namespace modelpress {
namespace {

// "graph/" of "graph/model.onnx"; empty for a plain name.
std::string_view FolderOf(const InputFile& file) {
  const std::string_view name = file.name;
  const size_t slash = name.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : name.substr(0, slash + 1);
}

bool LiesBeside(const InputFile& sidecar, const InputFile& further) {
  return further.file != nullptr && !FolderOf(further).empty() &&
         sidecar.name.starts_with(FolderOf(further));
}

}  // namespace

InputFiles FilesOfModel(const JobInputs& inputs) {
  InputFiles files{inputs.model.main, {}};
  for (const InputFile& sidecar : inputs.model.sidecars) {
    if (!LiesBeside(sidecar, inputs.student) && !LiesBeside(sidecar, inputs.graph))
      files.sidecars.push_back(sidecar);
  }
  return files;
}

InputFiles FilesOf(const InputFile& further, const JobInputs& inputs) {
  const size_t folder = FolderOf(further).size();
  InputFiles files{{further.name.substr(folder), further.file}, {}};
  for (const InputFile& sidecar : inputs.model.sidecars) {
    if (folder > 0 && !LiesBeside(sidecar, further)) continue;
    files.sidecars.push_back({sidecar.name.substr(folder), sidecar.file});
  }
  return files;
}

uint64_t BytesOf(const InputFiles& files) {
  uint64_t bytes = files.main.file == nullptr ? 0 : files.main.file->size();
  for (const InputFile& file : files.sidecars) bytes += file.file->size();
  return bytes;
}

uint64_t ModelBytes(const JobInputs& inputs) {
  uint64_t bytes = BytesOf(inputs.model);
  for (const InputFile* further : {&inputs.student, &inputs.graph}) {
    if (further->file != nullptr) bytes += further->file->size();
  }
  return bytes;
}

}  // namespace modelpress
