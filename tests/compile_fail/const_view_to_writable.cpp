// expect: (could not convert|no viable conversion|conversion from)
#include <stroma/core/view.hpp>

void fill(stroma::vector_view<float> out);

int main() {
  const stroma::vector_view<const float> score;
  fill(score);
}
