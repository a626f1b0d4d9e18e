//! `ocelli serve`

mod answer;
mod connections;
mod packed;
mod range;
mod site;

use super::{Global, print};
use crate::error::{Error, Result, Untrusted};
use answer::answer;
use clap::Args;
use connections::{Connections, Watched};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use site::Site;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The most connections at a time. For one more, an idle one is closed. Each connection may have a file open.
const CONNECTIONS: usize = 256;
/// A client that sends no request, or takes nothing of a response, is disconnected after this time. A page may stop
/// reading for some seconds while the driver of the GPU compiles.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(super) struct ServeArgs {
    /// The folder of the built page
    #[arg(long, value_name = "FOLDER", default_value = "web/dist")]
    page: PathBuf,
    /// A folder with networks (.safetensors, .onnx) that the page offers
    #[arg(long, value_name = "FOLDER")]
    weights: Option<PathBuf>,
    /// Where to listen; 0 takes any port that is free
    #[arg(long, value_name = "N", default_value_t = 8000)]
    port: u16,
}

pub(super) fn run(args: &ServeArgs, global: &Global) -> Result<()> {
    let site = Arc::new(Site::open(&args.page, args.weights.as_deref())?);
    let folder = args.weights.as_deref().unwrap_or(Path::new("."));
    let networks = site.networks().map_err(|e| Error::from_io(e, "list", folder))?;
    let listener = listen(args.port)?;
    let address = listener.local_addr().map_err(|e| failed(&e))?;
    let stop = Arc::new(Notify::new());
    let asked = stop.clone();
    ctrlc::set_handler(move || asked.notify_one())
        .map_err(|e| Error::io(format!("cannot listen for Ctrl-C: {e}")))?;

    print(&format!("http://{address}/"))?;
    for network in &networks {
        print(&format!("http://{address}/?{}", network.query()))?;
    }
    if let (true, Some(folder)) = (networks.is_empty(), &args.weights) {
        global.say(format!("{}: no .safetensors or .onnx files yet", Untrusted::new(folder)));
    }
    global.say("open this address in a browser with WebGPU; Ctrl-C ends the server");

    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| failed(&e))?;
    let result = runtime.block_on(async {
        tokio::spawn(accept(tokio::net::TcpListener::from_std(listener)?, site));
        stop.notified().await;
        Ok(())
    });
    // Transfers in progress are aborted, because the program has been told to end.
    runtime.shutdown_background();
    result.map_err(|e| failed(&e))
}

/// Listens on the loopback address only, because the server has no authentication.
fn listen(port: u16) -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|e| {
        let said = match e.kind() {
            io::ErrorKind::AddrInUse => Error::io("another program listens at this port"),
            io::ErrorKind::PermissionDenied => Error::io("this port is not for everyone"),
            _ => Error::io(format!("cannot listen at this port: {e}")),
        };
        let hint = "choose another one with --port, or --port 0 for any that is free";
        said.at(format!("127.0.0.1:{port}")).hint(hint)
    })?;
    listener.set_nonblocking(true).map_err(|e| failed(&e))?;
    Ok(listener)
}

/// Accepts connections and serves each in its own task.
async fn accept(listener: tokio::net::TcpListener, site: Arc<Site>) {
    let connections = Connections::new(CONNECTIONS);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Too many files are open, so an idle connection is closed.
            connections.give_up_one();
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let site = site.clone();
        let service = service_fn(move |request| {
            let site = site.clone();
            async move { Ok::<_, Infallible>(answer(site, request).await) }
        });
        let serve = async move |place| {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(Watched::new(stream, place, PATIENCE)), service);
            // A browser that disconnects early is not an error worth reporting.
            drop(connection.await);
        };
        connections.spawn(serve).await;
    }
}

fn failed(error: &io::Error) -> Error {
    Error::io(format!("the server failed: {error}"))
}
