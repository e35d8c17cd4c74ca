// The cell of an LSTM as operators of ONNX: one step, and a Scan over the steps of a sequence. What ONNX's own LSTM does not
// have (projection, clips, layer normalization, coupled gates) is computed this way.
#pragma once

#include <string>
#include <vector>

#include "core/formats/tflite/recurrent.h"

namespace modelpress::tflite {

// Input numbers of one direction.
struct Gates {
  std::vector<int> input, recurrent, bias;  // i, f, c, o
  std::vector<int> peephole;                // i, f, o
  std::vector<int> normalization;           // i, f, c, o
  std::vector<int>
      auxiliary;  // i, f, c, o: weights of further features, behind those of `input`; or none
  int projection = -1, projection_bias = -1, output_state = -1, cell_state = -1;
};

// The usual order of inputs: weights, recurrent weights, peepholes, biases and so on, each from the number given on;
// `normalization` -1: none.
Gates GatesFrom(int weights, int peephole, int bias, int projection, int output_state,
                int cell_state, int normalization);

bool HasPeephole(const OperatorContext& c, const Gates& gates);
bool IsNormalized(const OperatorContext& c, const Gates& gates);

struct Cell {
  std::string output, state;
};

// The weights of a step in real numbers, made outside of the loop.
struct StepWeights {
  Names input, recurrent, bias, peephole, normalization;  // "" where absent
  std::string projection, projection_bias;
};

absl::StatusOr<StepWeights> ReadWeights(OperatorContext& c, const Gates& gates);

struct Clips {
  float cell = 0, projection = 0;
  schema::ActivationFunctionType activation = schema::ActivationFunctionType::TANH;
};

// One step of the cell (Hochreiter and Schmidhuber 1997, with peepholes of Gers et al. 2002 and the projection of Sak et
// al. 2014), from x [batch, input], h [batch, output], s [batch, cell].
absl::StatusOr<Cell> Step(OperatorContext& c, import::GraphBuilder& b, const StepWeights& w,
                          const Clips& clips, const std::string& x, const std::string& h,
                          const std::string& s);

// The outputs of all steps of x, from states of zeros; backward: from the last step to the first.
absl::StatusOr<std::string> ScanSteps(OperatorContext& c, const Gates& gates, const Clips& clips,
                                      const std::string& x, bool time_major, bool backward);

}  // namespace modelpress::tflite
