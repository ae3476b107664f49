// The pooling operators on the CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>

namespace bevpool {

at::Tensor bev_pool_cpu(const at::Tensor& depth, const at::Tensor& context, const at::Tensor& cells,
                        const std::optional<at::Tensor>& offsets,
                        const std::optional<at::Tensor>& runs,
                        const std::optional<at::Tensor>& column_offsets,
                        const std::optional<at::Tensor>& column_runs, int64_t bev_y, int64_t bev_x);

std::tuple<at::Tensor, at::Tensor> bev_pool_backward_cpu(
    const at::Tensor& grad, const at::Tensor& depth, const at::Tensor& context,
    const at::Tensor& cells, const std::optional<at::Tensor>& column_offsets,
    const std::optional<at::Tensor>& column_runs);

}  // namespace bevpool
