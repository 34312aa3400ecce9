//! An engine inside an application's own glommio executor: its one core is a task there. Starts no thread, and waits for none.

use std::cell::RefCell;

use super::core_ctx::CoreCtx;
use super::engine::{Engine, Time, attend, attendants};
use super::engine_builder::{EngineBuilder, EngineError};
use crate::host::Host;
use crate::mesh::{Mesh, MeshConfig, Place};
use crate::sys::affinity::{self, Pinned};

impl EngineBuilder {
    /// Adds a core to the glommio executor that runs this: an engine of one core, which is a detached task of the executor, and that core for the executor's own tasks.
    /// What was set of cores and host does not count.
    ///
    /// The task ends when the engine's last handle is dropped, or with the executor, or after [`Engine::shutdown`], which does not wait for it here. While requests are in flight, other tasks, timers
    /// and channels of the executor wait for up to 1 ms, and the core sleeps over what has not answered for a millisecond; [`CoreCtx::client`] gives them a client without a hop to another thread.
    ///
    /// ```
    /// use ringshot::client::Engine;
    /// # use ringshot::origin::{Config, Origin};
    /// # let origin = Origin::start(&Config::on_loopback())?;
    /// # let url = format!("http://{}/", origin.address());
    ///
    /// let executor = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound).io_memory(0).make()?;
    /// executor.run(async {
    ///     let (engine, ctx) = Engine::builder().attach()?;
    ///     let client = ctx.client(&engine.client().build()?);
    ///     let task = glommio::spawn_local(async move { client.get(&url).send().await?.bytes().await });
    ///     println!("{} bytes", task.await?.len());
    ///     Ok::<(), Box<dyn std::error::Error>>(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`EngineError::Core`] with `NotConnected` on a thread that runs no glommio executor (the panic that glommio tells this by is caught, and its message printed); the others as of
    /// [`EngineBuilder::build`].
    pub fn attach(self) -> Result<(Engine, CoreCtx), EngineError> {
        let allowed = affinity::cores();
        let core = allowed.first().copied().ok_or(EngineError::NoCores)?;
        let pinned = if allowed.len() == 1 { Pinned::Yes } else { Pinned::No };
        let config = MeshConfig { host: Host::Glommio, ..self.config(vec![core])? };
        let seated = RefCell::new(None);
        let attendant = |place: Place| {
            let ctx = CoreCtx::new(place);
            *seated.borrow_mut() = Some(ctx.clone());
            let open: Box<dyn FnMut(_)> = Box::new(move |note| attend(&ctx, note));
            open
        };
        let engine = self.start(config, |config| {
            let mesh = Mesh::without_threads(&config.cores)?;
            let attached = mesh.attach(config, pinned, attendants(), &attendant);
            attached.map_err(|error| (core, error))?;
            Ok(Engine::of(mesh, config, Time::Clock))
        })?;
        seated.take().map(|ctx| (engine, ctx)).ok_or(EngineError::NoCores)
    }
}
