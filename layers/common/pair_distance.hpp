#ifndef CAFFE_UTIL_PAIR_DISTANCE_HPP_
#define CAFFE_UTIL_PAIR_DISTANCE_HPP_

namespace caffe {

/**
 * @brief d_{ij} = ||f_i - f_j||_2, or its square, between V rows of C values; rows lie `stride` values apart. d is V x V.
 *
 * By differences, not by ||a||^2 + ||b||^2 - 2ab: V is a handful, and nearly equal rows keep their digits.
 */
template <typename Dtype>
void PairDistances(int V, int C, const Dtype* f, int stride, Dtype* d, bool squared = false);

/**
 * @brief Adds sum_j k_{ij} (f_i - f_j) / d_{ij} to row i of df, of squares sum_j 2 k_{ij} (f_i - f_j). Terms with
 *        d_{ij} = 0 add nothing.
 *
 * k is V x V: the derivative of the loss by d_{ij} and d_{ji} together.
 */
template <typename Dtype>
void PairDistancesBackward(int V, int C, const Dtype* f, const Dtype* d, const Dtype* k, int stride, Dtype* df,
    bool squared = false);

/// u = f / ||f||_2 row by row (rows x C, contiguous); a row of zeros stays zero. norm receives ||f||_2 of each row.
template <typename Dtype>
void UnitRows(int rows, int C, const Dtype* f, Dtype* u, Dtype* norm);

/// du -> df through UnitRows, in place: d = (d - u (u . d)) / norm; 0 where the norm is 0.
template <typename Dtype>
void UnitRowsBackward(int rows, int C, const Dtype* u, const Dtype* norm, Dtype* d);

}  // namespace caffe

#endif  // CAFFE_UTIL_PAIR_DISTANCE_HPP_
