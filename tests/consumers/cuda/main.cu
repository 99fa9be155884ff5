// Attention over two slides on a device, as a program that embeds stroma writes it: compiled and linked everywhere, run
// where there is a device.
#include <cstdio>
#include <vector>

#include <stroma/models/abmil.cuh>

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("no device: compiled and linked only");
    return 0;
  }
  using device = stroma::backend::cuda;
  stroma::cuda_context ctx;
  const stroma::abmil<float, stroma::gated_attention, device> model(
      {.features = 32, .hidden = {16}, .attention = 8, .outputs = 4});

  stroma::array<float, 2, stroma::device_space> instances(300, 32);
  stroma::array<stroma::index_t, 1, stroma::device_space> offsets(3);
  stroma::array<stroma::index_t, 1> ends(3);
  ends[1] = 100;
  ends[2] = 300;
  stroma::transfer(ctx, ends, offsets);

  stroma::graph<float, device> g(ctx, stroma::graph_mode::inference);
  const stroma::bag_view<const float, stroma::device_space> bags{stroma::as_const_view(instances),
                                                                 stroma::as_const_view(offsets)};
  const auto out = model(g, g.input(bags));
  std::vector<float> logits(2 * 4, -1);
  stroma::transfer(ctx, g.value(out.logits), stroma::matrix_view<float>(logits.data(), 2, 4));
  // Parameters of 0 give logits of 0.
  for (const float z : logits)
    if (z != 0) return 1;
  return 0;
}
