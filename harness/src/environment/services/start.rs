//! Starting all services of a run at once, in the way that was asked for or the first that works.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Instant,
};

use super::{Error, Services, container, programs, running::Running};
use crate::{
    environment::chain,
    plan::{Access, Origin, Plan, Service, ServicesPlan, TargetPlan},
};

/// Another program may take a free port before the service does.
const STARTS_MAX: usize = 3;

/// Whether a plan needs an etcd of our own as a process, and there is no such program.
#[must_use]
pub fn lacks_etcd(plan: &Plan) -> bool {
    let TargetPlan::Reference(reference) = &plan.target else { return false };
    let ServicesPlan { from, needed, .. } = &reference.services;
    let is_process = matches!(from, Origin::Auto | Origin::Processes);
    let etcd = BTreeSet::from([Service::Etcd]);
    is_process && needed.is_superset(&etcd) && programs::find_all(&etcd).is_err()
}

impl Services {
    /// Starts what the plan needs; all of it is ready then.
    ///
    /// # Errors
    /// When something is missing, does not start, or does not answer.
    pub(in crate::environment) async fn start(plan: &ServicesPlan, run_folder: &Path) -> Result<Self, Error> {
        if plan.needed.is_empty() {
            return Ok(Self::default());
        }
        let begun = Instant::now();
        let (mut running, how) = match &plan.from {
            Origin::Processes => (processes(plan, run_folder).await?, "as processes".to_owned()),
            Origin::Containers => (containers(plan).await?, "as containers".to_owned()),
            Origin::External { access } => (external(plan, access).await?, "of somebody else".to_owned()),
            Origin::Auto => first_that_works(plan, run_folder).await?,
        };
        for service in &plan.linked {
            if let Some(running) = running.get_mut(service) {
                running.link_up()?;
            }
        }
        let (named, ms) = (named(&plan.needed), begun.elapsed().as_millis());
        Ok(Self { running, told: format!("{named} {how}, ready after {ms} ms") })
    }
}

type Started = BTreeMap<Service, Running>;

async fn first_that_works(plan: &ServicesPlan, run_folder: &Path) -> Result<(Started, String), Error> {
    let processes = match processes(plan, run_folder).await {
        Ok(running) => return Ok((running, "as processes (auto: the first way that works)".to_owned())),
        Err(error) => error,
    };
    match containers(plan).await {
        Ok(running) => {
            let why = chain(&processes);
            Ok((running, format!("as containers (auto: as processes it failed to {why})")))
        }
        Err(containers) => Err(Error::Nothing {
            needed: named(&plan.needed),
            processes: Box::new(processes),
            containers: Box::new(containers),
        }),
    }
}

async fn processes(plan: &ServicesPlan, run_folder: &Path) -> Result<Started, Error> {
    let programs = programs::find_all(&plan.needed)?;
    all(plan, async |service| {
        let mut starts = 1;
        loop {
            match Running::process(service, &programs[&service], run_folder).await {
                Err(Error::NotReady { .. }) if starts < STARTS_MAX => starts += 1,
                started => return started,
            }
        }
    })
    .await
}

async fn containers(plan: &ServicesPlan) -> Result<Started, Error> {
    container::look_for_engine().await?;
    container::sweep().await?;
    let images =
        all(plan, async |service| container::image(service, plan.images.get(&service)).await).await?;
    all(plan, async |service| Running::container(service, &images[&service]).await).await
}

async fn external(plan: &ServicesPlan, access: &BTreeMap<Service, Access>) -> Result<Started, Error> {
    let running = all(plan, async |service| {
        let access = access.get(&service).cloned().unwrap_or_default();
        Running::external(service, access).await
    })
    .await?;
    for running in running.values() {
        running.claim().await?;
    }
    Ok(running)
}

/// Does something for each needed service, for all of them at once; the first failure, once all are done.
async fn all<T>(
    plan: &ServicesPlan,
    act: impl AsyncFn(Service) -> Result<T, Error>,
) -> Result<BTreeMap<Service, T>, Error> {
    let one = async |service: Service| match plan.needed.contains(&service) {
        true => act(service).await.map(|done| Some((service, done))),
        false => Ok(None),
    };
    let [etcd, mysql, redis] = Service::ALL;
    let (etcd, mysql, redis) = tokio::join!(one(etcd), one(mysql), one(redis));
    Ok([etcd?, mysql?, redis?].into_iter().flatten().collect())
}

/// `etcd, mysql and redis`
fn named(services: &BTreeSet<Service>) -> String {
    let words: Vec<&str> = services.iter().map(|service| service.word()).collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
