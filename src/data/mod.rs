//! Pictures: data sets, decoding, preprocessing, random variation, and batches ahead of the GPU.

#[cfg(feature = "train")]
mod aside;
#[cfg(feature = "train")]
mod augment;
#[cfg(feature = "train")]
mod census;
#[cfg(feature = "train")]
mod cifar;
mod colour_map;
#[cfg(feature = "train")]
mod crops;
#[cfg(feature = "train")]
mod dataset;
#[cfg(feature = "train")]
mod decode;
#[cfg(feature = "train")]
mod fast;
#[cfg(feature = "train")]
mod folder;
#[cfg(feature = "train")]
mod holdout;
#[cfg(feature = "train")]
mod idx;
#[cfg(feature = "train")]
mod jpeg;
#[cfg(feature = "train")]
mod kind;
#[cfg(feature = "train")]
mod left_out;
#[cfg(feature = "train")]
mod listing;
#[cfg(feature = "train")]
mod loader;
#[cfg(feature = "train")]
mod measure;
#[cfg(feature = "train")]
mod memory;
#[cfg(feature = "train")]
mod mixing;
mod normalization;
#[cfg(feature = "train")]
mod open;
#[cfg(feature = "train")]
mod pack;
mod picture;
#[cfg(feature = "train")]
mod png;
mod preprocessing;
#[cfg(feature = "train")]
mod reading;
mod regular;
#[cfg(feature = "train")]
mod relabel;
#[cfg(feature = "resize")]
mod resize;

#[cfg(feature = "train")]
pub use aside::aside;
#[cfg(feature = "train")]
pub use augment::{Augment, Crop};
#[cfg(feature = "train")]
pub use census::Census;
#[cfg(feature = "train")]
pub use cifar::Cifar;
pub use colour_map::ColourMap;
#[cfg(feature = "train")]
pub use crops::{Crops, Scale, Views, stacked_views};
#[cfg(feature = "train")]
pub use dataset::{Dataset, Split};
#[cfg(feature = "train")]
pub use decode::{decode, read_picture};
#[cfg(feature = "train")]
pub use folder::Folder;
#[cfg(feature = "train")]
pub use holdout::{hold_out, listed};
#[cfg(feature = "train")]
pub use idx::Idx;
#[cfg(feature = "train")]
pub use left_out::LeftOut;
#[cfg(feature = "train")]
pub use listing::picture_files;
#[cfg(feature = "train")]
pub use loader::{Batch, Epoch, Last, Loader, LoaderOptions, Skipped, Waited};
#[cfg(feature = "train")]
pub use measure::{LoaderSpeed, measure_loader, use_threads};
#[cfg(feature = "train")]
pub use mixing::Mixed;
pub use normalization::Normalization;
#[cfg(feature = "train")]
pub use open::{Parts, is_of_pictures, open, open_both, open_classes};
#[cfg(feature = "train")]
pub use pack::{PACK_ENDING, Pack, PackFormat, PackOptions, Packed, pack};
pub use picture::Picture;
pub use preprocessing::{ChannelOrder, Preprocessing, Resize};
#[cfg(feature = "train")]
pub use reading::Hung;
pub(crate) use regular::open_regular;
#[cfg(feature = "train")]
pub use relabel::relabel;
#[cfg(feature = "resize")]
pub use resize::{crop_at, fit};
