//! The chips that Mesa's drivers compile for.

/// Who makes a chip: it decides the driver, and how its assembly is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Maker {
    Amd,
    Nvidia,
}

impl Maker {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amd => "amd",
            Self::Nvidia => "nvidia",
        }
    }
}

/// A chip.
#[derive(Debug)]
pub(crate) struct Chip {
    pub(crate) name: &'static str,
    pub(crate) maker: Maker,
    pub(crate) about: &'static str,
}

pub(crate) const CHIPS: [Chip; 8] = [
    Chip { name: "polaris10", maker: Maker::Amd, about: "GCN 4, Radeon RX 480" },
    Chip { name: "vega20", maker: Maker::Amd, about: "GCN 5, Radeon VII" },
    Chip { name: "renoir", maker: Maker::Amd, about: "GCN 5, integrated" },
    Chip { name: "navi21", maker: Maker::Amd, about: "RDNA 2, Radeon RX 6900 XT" },
    Chip { name: "navi31", maker: Maker::Amd, about: "RDNA 3, Radeon RX 7900 XTX" },
    Chip { name: "gfx1201", maker: Maker::Amd, about: "RDNA 4, Radeon RX 9070 XT" },
    Chip { name: "tu104", maker: Maker::Nvidia, about: "Turing, GeForce RTX 2080" },
    Chip { name: "ga104", maker: Maker::Nvidia, about: "Ampere, GeForce RTX 3070" },
];

/// The chip of a name.
pub(crate) fn find(name: &str) -> Result<&'static Chip, String> {
    CHIPS.iter().find(|chip| chip.name == name).ok_or_else(|| {
        let known: Vec<&str> = CHIPS.iter().map(|chip| chip.name).collect();
        format!("no chip is named {name:?}; the chips are {}", known.join(", "))
    })
}
