# python3 scripts/bench/bench-experts.py   (onnxruntime 1.30.0, onnx, numpy)
# One mixture of experts of Qwen3-30B-A3B's shape (32 of its 128 experts, 8 a row), int4 in blocks of 32, two
# threads: onnxruntime's fused QMoE against the small operators that src/blocks/graph/experts.ts puts together.
import time

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

HIDDEN, FFN, EXPERTS, CHOSEN, BLOCK = 2048, 768, 32, 8, 32
rng = np.random.default_rng(0)


def quantised(rows, columns):
    values = rng.integers(0, 256, (rows, columns // BLOCK, BLOCK // 2), dtype=np.uint8)
    return values, (rng.random((rows, columns // BLOCK)) * 0.02).astype(np.float32)


UP = [quantised(2 * FFN, HIDDEN) for _ in range(EXPERTS)]
DOWN = [quantised(HIDDEN, FFN) for _ in range(EXPERTS)]
ROUTER = (rng.standard_normal((HIDDEN, EXPERTS)) * 0.05).astype(np.float32)


class Graph:
    def __init__(self):
        self.nodes, self.weights = [], {}

    def add(self, kind, inputs, outputs, **attributes):
        own = kind in ('QMoE', 'MatMulNBits', 'QuickGelu')
        domain = 'com.microsoft' if own else ''
        self.nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **attributes))

    def weight(self, name, value, dtype=np.int64):
        self.weights[name] = np.array(value, dtype=dtype)
        return name

    def session(self):
        x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 'n', HIDDEN]) for n in 'xy')
        tensors = [numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        graph = helper.make_graph(self.nodes, 'experts', [x], [y], tensors)
        sets = [helper.make_opsetid('', 21), helper.make_opsetid('com.microsoft', 1)]
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = 2, 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        model = helper.make_model(graph, opset_imports=sets, ir_version=10)
        return ort.InferenceSession(model.SerializeToString(), options, ['CPUExecutionProvider'])


def fused():
    g = Graph()
    g.weight('router', ROUTER, np.float32)
    g.add('MatMul', ['x', 'router'], ['scores'])
    g.add('Reshape', ['scores', g.weight('flat', [-1, EXPERTS])], ['rows'])
    # Gate and up rows lie in turns.
    turns = np.arange(2 * FFN).reshape(2, FFN).T.ravel()
    for name, parts, order in (('up', UP, turns), ('down', DOWN, slice(None))):
        g.weight(f'{name}.v', np.stack([v.reshape(len(v), -1)[order] for v, _ in parts]), np.uint8)
        g.weight(f'{name}.s', np.stack([s[order] for _, s in parts]), np.float32)
    g.add('QMoE', ['x', 'rows', 'up.v', 'up.s', '', 'down.v', 'down.s'], ['y'], k=CHOSEN,
          activation_type='swiglu', swiglu_fusion=1, activation_alpha=1.0, activation_beta=0.0,
          expert_weight_bits=4, block_size=BLOCK, normalize_routing_weights=1)
    return g.session()


def composed(accuracy):
    g = Graph()
    g.weight('router', ROUTER, np.float32)
    g.add('MatMul', ['x', 'router'], ['scores'])
    g.add('TopK', ['scores', g.weight('most', [CHOSEN])], ['best', 'chosen'])
    g.add('Softmax', ['best'], ['shares'])
    g.add('Reshape', ['chosen', g.weight('flat', [-1])], ['all'])
    g.add('Shape', ['all'], ['length'])
    g.add('TopK', ['all', 'length'], ['by expert', 'places'], axis=0, largest=0)
    g.add('TopK', ['places', 'length'], ['by place', 'order'], axis=0, largest=0)
    g.add('Equal', [g.weight('ids', np.arange(EXPERTS).reshape(-1, 1)), 'all'], ['equal'])
    g.add('Cast', ['equal'], ['hits'], to=TensorProto.INT64)
    g.add('ReduceSum', ['hits', g.weight('axis', [1])], ['counts'], keepdims=0)
    g.add('Div', ['places', 'most'], ['rows'])
    g.add('Gather', ['x', 'rows'], ['sorted'], axis=1)

    def each(source, name, parts, rows, columns):
        g.add('Split', [source, 'counts'], [f'{name}{e}.x' for e in range(EXPERTS)], axis=1)
        for e, (values, scales) in enumerate(parts):
            weights = [g.weight(f'{name}{e}.v', values, np.uint8),
                       g.weight(f'{name}{e}.s', scales.ravel(), np.float32)]
            g.add('MatMulNBits', [f'{name}{e}.x', *weights], [f'{name}{e}.y'], K=columns, N=rows,
                  bits=4, block_size=BLOCK, accuracy_level=accuracy)
        g.add('Concat', [f'{name}{e}.y' for e in range(EXPERTS)], [name], axis=1)

    each('sorted', 'up', UP, 2 * FFN, HIDDEN)
    g.add('Split', ['up'], ['gate', 'other'], axis=-1, num_outputs=2)
    g.add('QuickGelu', ['gate'], ['active'], alpha=1.0)
    g.add('Mul', ['active', 'other'], ['gated'])
    each('gated', 'down', DOWN, HIDDEN, FFN)
    g.add('Gather', ['down', 'order'], ['ordered'], axis=1)
    g.add('Reshape', ['ordered', g.weight('by row', [-1, CHOSEN, HIDDEN])], ['answers'])
    g.add('Reshape', ['shares', g.weight('row', [-1, 1, CHOSEN])], ['weights'])
    g.add('MatMul', ['weights', 'answers'], ['sums'])
    g.add('Reshape', ['sums', g.weight('whole', [1, -1, HIDDEN])], ['y'])
    return g.session()


def milliseconds(session, rows, times):
    x = rng.standard_normal((1, rows, HIDDEN)).astype(np.float32)
    session.run(None, {'x': x})
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        session.run(None, {'x': x})
        taken.append(time.perf_counter() - start)
    return sorted(taken)[times // 2] * 1e3


if __name__ == '__main__':
    one, exact, fast = fused(), composed(0), composed(4)
    x = rng.standard_normal((1, 5, HIDDEN)).astype(np.float32)
    answers = [session.run(None, {'x': x})[0] for session in (one, exact, fast)]
    errors = [np.abs(a - answers[1]).max() / np.abs(answers[1]).max() for a in answers]
    print(f'error against floats: QMoE {errors[0]:.1e}, composed with int8 activations {errors[2]:.1e}')
    for rows, times in ((1, 30), (8, 8), (64, 5)):
        a, b, c = (milliseconds(session, rows, times) for session in (one, exact, fast))
        print(f'{rows} rows: QMoE {a:.1f} ms, composed {b:.1f} (floats) {c:.1f} (int8): {a / c:.0f} times')
