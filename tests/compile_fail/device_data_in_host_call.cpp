// expect: same_space<Context, .*(not satisfied|false)
#include <stroma/core/context.hpp>

template <stroma::execution_context Context, stroma::vector_like Scores, stroma::vector_like Times>
  requires stroma::same_space<Context, Scores, Times>
void judge(Context&, const Scores&, const Times&) {}

int main() {
  stroma::cpu_context ctx;
  const stroma::vector_view<const float> score;
  const stroma::vector_view<const float, stroma::device_space> time;
  judge(ctx, score, time);
}
