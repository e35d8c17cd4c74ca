// Any text as an exported program: parsed or refused; what was parsed is converted or refused.
#include "core/formats/pt2/convert.h"
#include "core/formats/pt2/graph_reader.h"
#include "modelpress/v1/recipe.pb.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace modelpress;
  auto& environment = testing::FuzzEnvironment::Get();
  const auto program = pt2::ParseProgram({reinterpret_cast<const char*>(data), size});
  if (!program.ok()) return 0;
  std::vector<std::string> notes;
  (void)pt2::ConvertProgram(*program, Import(), environment.context, &notes);
  return 0;
}
