"""The solvers (section III-E)."""

from caffe.proto import caffe_pb2


def solver(net_path, snapshot_prefix, options):
    """A SolverParameter that trains the net in the file ``net_path``; see SolverOptions."""
    proto = caffe_pb2.SolverParameter(
        train_net=net_path, type="SGD", base_lr=options.base_lr, momentum=options.momentum,
        weight_decay=options.weight_decay, max_iter=options.max_iter, snapshot=options.snapshot,
        snapshot_prefix=snapshot_prefix, display=options.display, average_loss=options.display,
        random_seed=options.random_seed, solver_mode=caffe_pb2.SolverParameter.CPU)
    policy = options.policy or dict(lr_policy="multistep", gamma=0.5, stepvalue=[
        round(options.max_iter / 3), round(2 * options.max_iter / 3)])
    for key, value in policy.items():
        if isinstance(value, list):
            getattr(proto, key).extend(value)
        else:
            setattr(proto, key, value)
    return proto
