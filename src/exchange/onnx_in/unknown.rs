//! Descriptions of operators that are not supported, for messages.

/// Operators of other networks, with a description.
const OTHERS: &[(&[&str], &str)] = &[
    (
        &["Sigmoid", "HardSigmoid"],
        "makes a probability of each number by itself, and the classes here exclude one another",
    ),
    (
        &[
            "Celu",
            "Elu",
            "Erf",
            "Gelu",
            "HardSwish",
            "LeakyRelu",
            "Mish",
            "PRelu",
            "Selu",
            "Softplus",
            "Softsign",
            "Swish",
            "Tanh",
            "ThresholdedRelu",
        ],
        "is another function of each number than ReLU",
    ),
    (&["ArgMax", "ArgMin", "TopK", "NonMaxSuppression"], "makes positions, not a number for each class"),
    (&["ConvTranspose", "DepthToSpace", "MaxUnpool", "Resize", "Upsample"], "makes larger maps"),
    (&["GRU", "LSTM", "RNN"], "is a recurrent layer"),
    (
        &[
            "GroupNormalization",
            "InstanceNormalization",
            "LayerNormalization",
            "LpNormalization",
            "RMSNormalization",
        ],
        "normalises by what is in each picture, not by numbers of the file",
    ),
    (&["If", "Loop", "Scan", "SequenceMap"], "runs other graphs inside the graph"),
    (&["Einsum", "Attention", "MultiHeadAttention"], "multiplies values that are computed from the picture"),
    (
        &[
            "ArrayFeatureExtractor",
            "LinearClassifier",
            "Normalizer",
            "SVMClassifier",
            "Scaler",
            "TreeEnsembleClassifier",
            "ZipMap",
        ],
        "is of scikit-learn's models on rows of numbers, not on pictures",
    ),
    (&["RandomNormal", "RandomUniform", "Bernoulli", "Multinomial"], "makes random numbers"),
    (
        &["StridedSlice", "StatefulPartitionedCall", "PartitionedCall"],
        "is of TensorFlow, which its exporter could not express",
    ),
];

/// The description of an unsupported operator, if it is listed.
pub(super) fn does(operator: &str) -> Option<&'static str> {
    OTHERS.iter().find(|(names, _)| names.contains(&operator)).map(|(_, does)| *does)
}
