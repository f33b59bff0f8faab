#ifndef CAFFE_UTIL_PART_PRODUCTS_CUH_
#define CAFFE_UTIL_PART_PRODUCTS_CUH_

#include "caffe/util/part_pointers.cuh"

namespace caffe {

/// A matrix a part: value (i, j) of part r lies at of.part[r][i * row + j * column]. One of the two strides is 1.
template <typename Dtype>
struct PartMatrices {
  PartPointers<Dtype> of;
  int row, column;
};

/// A block makes kProductTile x kProductTile values, a thread one of them.
const int kProductTile = 16;
const int kProductThreads = kProductTile * kProductTile;

/// Blocks of PartProducts for M x N values of each part.
inline int PartProductsBlocks(int parts, int M, int N) {
  return parts * ((M + kProductTile - 1) / kProductTile) * ((N + kProductTile - 1) / kProductTile);
}

/// tile[i][j] = value (i0 + i, j0 + j) of a matrix of I x J, 0 beyond it. Neighbouring threads read neighbouring values.
template <typename Dtype>
__device__ inline void load_product_tile(const PartMatrices<const Dtype>& matrices, int r, int i0, int I, int j0, int J,
    Dtype tile[kProductTile][kProductTile + 1]) {
  const int along = threadIdx.x % kProductTile, across = threadIdx.x / kProductTile;
  const int i = matrices.column == 1 ? across : along, j = matrices.column == 1 ? along : across;
  const bool inside = i0 + i < I && j0 + j < J;
  tile[i][j] = inside ? matrices.of.part[r][(i0 + i) * matrices.row + (j0 + j) * matrices.column] : Dtype(0);
}

/**
 * @brief out_r = a_r b_r, M x N of M x L and L x N, or with add out_r += a_r b_r, for each part r whose out is not NULL.
 *        The additions of a value come in the order of L. out.column must be 1.
 *
 * All parts in one launch: a gemm a part would be a launch for each of R products of some 24 rows.
 */
template <typename Dtype>
__global__ void PartProducts(const int M, const int N, const int L, const PartMatrices<const Dtype> a,
    const PartMatrices<const Dtype> b, const PartMatrices<Dtype> out, const bool add) {
  // One value more a row: the values of a column lie in different banks.
  __shared__ Dtype a_tile[kProductTile][kProductTile + 1], b_tile[kProductTile][kProductTile + 1];
  const int across = (N + kProductTile - 1) / kProductTile, down = (M + kProductTile - 1) / kProductTile;
  const int r = blockIdx.x / (down * across), tile = blockIdx.x % (down * across);
  if (out.of.part[r] == NULL) {
    return;
  }
  const int m0 = tile / across * kProductTile, n0 = tile % across * kProductTile;
  const int m = threadIdx.x / kProductTile, n = threadIdx.x % kProductTile;
  Dtype sum = 0;
  for (int l0 = 0; l0 < L; l0 += kProductTile) {
    load_product_tile(a, r, m0, M, l0, L, a_tile);
    load_product_tile(b, r, l0, L, n0, N, b_tile);
    __syncthreads();
    for (int l = 0; l < kProductTile; ++l) {
      sum += a_tile[m][l] * b_tile[l][n];
    }
    __syncthreads();
  }
  if (m0 + m < M && n0 + n < N) {
    Dtype* value = out.of.part[r] + (m0 + m) * out.row + n0 + n;
    *value = add ? *value + sum : sum;
  }
}

}  // namespace caffe

#endif  // CAFFE_UTIL_PART_PRODUCTS_CUH_
