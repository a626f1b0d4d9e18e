//! torchvision's ResNet-18 and AlexNet of burn's modules.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

pub trait Network: Module {
    fn new(classes: usize, device: &Device) -> Self;
    /// (N, 3, H, W) -> (N, classes)
    fn forward(&self, x: Tensor<4>) -> Tensor<2>;
}

fn conv(channels: [usize; 2], kernel: usize, stride: usize, pad: usize, bias: bool, device: &Device) -> Conv2d {
    Conv2dConfig::new(channels, [kernel; 2])
        .with_stride([stride; 2])
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .with_bias(bias)
        .init(device)
}

fn max_pool(kernel: usize, stride: usize, pad: usize) -> MaxPool2d {
    MaxPool2dConfig::new([kernel; 2])
        .with_strides([stride; 2])
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .init()
}

#[derive(Module, Debug)]
struct Normed {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Normed {
    fn new(channels: [usize; 2], kernel: usize, stride: usize, pad: usize, device: &Device) -> Self {
        let norm = BatchNormConfig::new(channels[1]).init(device);
        Self { conv: conv(channels, kernel, stride, pad, false, device), norm }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

#[derive(Module, Debug)]
struct Block {
    first: Normed,
    second: Normed,
    projection: Option<Normed>,
}

impl Block {
    fn new(channels: [usize; 2], stride: usize, device: &Device) -> Self {
        let [c, k] = channels;
        Self {
            first: Normed::new([c, k], 3, stride, 1, device),
            second: Normed::new([k, k], 3, 1, 1, device),
            projection: (c != k).then(|| Normed::new([c, k], 1, stride, 0, device)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.second.forward(relu(self.first.forward(x.clone())));
        let shortcut = match &self.projection {
            Some(projection) => projection.forward(x),
            None => x,
        };
        relu(y + shortcut)
    }
}

/// He, Zhang, Ren and Sun, 2016.
#[derive(Module, Debug)]
pub struct ResNet18 {
    stem: Normed,
    pool: MaxPool2d,
    blocks: Vec<Block>,
    average: AdaptiveAvgPool2d,
    fc: Linear,
}

impl Network for ResNet18 {
    fn new(classes: usize, device: &Device) -> Self {
        let stages = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)];
        let blocks = stages
            .into_iter()
            .flat_map(|(c, k, stride)| [Block::new([c, k], stride, device), Block::new([k, k], 1, device)])
            .collect();
        Self {
            stem: Normed::new([3, 64], 7, 2, 3, device),
            pool: max_pool(3, 2, 1),
            blocks,
            average: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            fc: LinearConfig::new(512, classes).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.stem.forward(x)));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        self.fc.forward(self.average.forward(x).flatten(1, 3))
    }
}

/// Krizhevsky, 2014, as torchvision has it, at 224x224.
#[derive(Module, Debug)]
pub struct AlexNet {
    convs: Vec<Conv2d>,
    pool: MaxPool2d,
    dropout: Dropout,
    linears: Vec<Linear>,
}

impl Network for AlexNet {
    fn new(classes: usize, device: &Device) -> Self {
        let convs = [([3, 64], 11, 4, 2), ([64, 192], 5, 1, 2), ([192, 384], 3, 1, 1), ([384, 256], 3, 1, 1), ([256, 256], 3, 1, 1)];
        let linears = [[9216, 4096], [4096, 4096], [4096, classes]];
        Self {
            convs: convs.into_iter().map(|(c, kernel, stride, pad)| conv(c, kernel, stride, pad, true, device)).collect(),
            pool: max_pool(3, 2, 0),
            dropout: DropoutConfig::new(0.5).init(),
            linears: linears.into_iter().map(|[c, k]| LinearConfig::new(c, k).init(device)).collect(),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = x;
        for (i, conv) in self.convs.iter().enumerate() {
            x = relu(conv.forward(x));
            if [0, 1, 4].contains(&i) {
                x = self.pool.forward(x);
            }
        }
        let mut x = x.flatten(1, 3);
        for (i, linear) in self.linears.iter().enumerate() {
            if i > 0 {
                x = relu(x);
            }
            if i < 2 {
                x = self.dropout.forward(x);
            }
            x = linear.forward(x);
        }
        x
    }
}
