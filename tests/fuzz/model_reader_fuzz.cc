// Any bytes as a model: recognised, read, written and read again without a crash; what was read reads back equal.
#include <cstdio>
#include <filesystem>

#include "core/formats/format.h"
#include "modelpress/v1/recipe.pb.h"
#include "modelpress/v1/report.pb.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace modelpress;
  auto& environment = testing::FuzzEnvironment::Get();
  const InputFiles files{.main = {"model", environment.File(data, size)}};
  const auto format = FormatRegistry::Get().Recognise(files);
  if (!format.ok()) return 0;
  const auto model = (*format)->Read(files, Import(), environment.context);
  if (!model.ok()) return 0;
  // What was converted is written as ONNX, weights without a graph as weights.
  const std::string name = (*format)->has_graph() ? "onnx" : "safetensors";
  const Format& output = *FormatRegistry::Get().Find(name);
  const std::string folder = environment.scratch->folder() + "/out";
  std::filesystem::create_directories(folder);
  Output options;
  options.set_layout(Output::LAYOUT_INLINE);
  const auto written = output.Write(*model, options, folder, "model." + name, environment.context);
  Require(written.ok(), "a model that was read can be written");
  auto again = MappedFile::OpenForReading(folder + "/model." + name);
  Require(again.ok(), "the written file exists");
  const auto second =
      output.Read({.main = {"model." + name, *again}}, Import(), environment.context);
  Require(second.ok(), "a written model can be read");
  Require(second->proto().graph().node_size() == model->proto().graph().node_size(),
          "no node is lost");
  std::filesystem::remove_all(folder);
  return 0;
}
