//! A warm start in a run's folder: what it has learnt is kept there every few minutes and when it is stopped, and it goes
//! on from there bit for bit.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opid_lm::checkpoint::{StoredDtype, TextFiles};

use super::{Progress, Pupil, optimizer, train};
use crate::dialogue::Dialogue;
use crate::policy::{Start, open_policy};
use crate::recipe::Recipe;
use crate::run::{RunError, RunFolder, Snapshot, Unfinished, optimizer_in, unfinished};
use crate::tasks::Tasks;
use crate::train::{Control, Event, TrainError};

/// Time between two copies of what was learnt.
const KEPT_EVERY: Duration = Duration::from_secs(300);

/// A policy on its way through the stages of a warm start.
pub(crate) struct Course {
    /// The policy.
    pub pupil: Pupil,
    /// Between text and tokens.
    pub dialogue: Dialogue,
    /// The files to store beside the model.
    pub text: Arc<TextFiles>,
}

impl Course {
    /// A policy that no stage has taught yet.
    pub fn new(start: Start) -> Self {
        Course { pupil: Pupil::new(start.model), dialogue: start.dialogue, text: Arc::new(start.text) }
    }

    /// The policy of a run that was stopped in its warm start, as it is kept there.
    ///
    /// # Errors
    /// What is kept cannot be read.
    pub fn kept(run: &Path, recipe: &Recipe) -> Result<Option<Self>, TrainError> {
        let Some(Unfinished { folder, standing }) = unfinished(run)? else { return Ok(None) };
        let course = Course::new(open_policy(&folder, recipe)?);
        let optimizer = optimizer_in(&folder, course.pupil.model.len(), optimizer())?.map(Arc::new);
        Ok(Some(Course { pupil: Pupil { optimizer, standing, ..course.pupil }, ..course }))
    }

    /// What is told of the policy first.
    pub fn policy(&self) -> Event<'static> {
        let Pupil { model, standing, .. } = &self.pupil;
        let vocabulary = model.config.vocab_size;
        Event::Policy { parameters: model.len(), vocabulary, taught: standing.updates }
    }

    /// Goes through what is left of the recipe's stages; `observe` is shown every update. If a stop is asked for, what was
    /// learnt is kept, and the error says so; with `command` it goes on.
    ///
    /// # Errors
    /// That stop; or the tasks cannot be had, a prompt fails, or a file cannot be written.
    pub fn finish(
        &mut self,
        folder: &mut RunFolder,
        tasks: &Tasks,
        recipe: &Recipe,
        control: &Control,
        command: &'static str,
        observe: &mut dyn FnMut(&mut RunFolder, Progress) -> Result<(), RunError>,
    ) -> Result<(), TrainError> {
        let Some(stages) = recipe.warm_start.as_ref().map(|warm| &warm.stages[..]) else { return Ok(()) };
        let (mut written, text, mut failed) = (Instant::now(), self.text.clone(), None);
        let mut step = |progress: Progress, pupil: &Pupil| -> Result<ControlFlow<()>, RunError> {
            observe(folder, progress)?;
            let stop = control.interrupt.flow();
            if stop.is_break() || written.elapsed() > KEPT_EVERY {
                folder.keep(snapshot(pupil, text.clone()))?;
                written = Instant::now();
            }
            Ok(stop)
        };
        let progress = &mut |progress: Progress, pupil: &Pupil| {
            step(progress, pupil).unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            })
        };
        let end = train(&mut self.pupil, &self.dialogue, tasks, stages, recipe, progress)?;
        folder.finish()?;
        match (failed, end) {
            (Some(error), _) => Err(error.into()),
            (None, ControlFlow::Continue(())) => Ok(()),
            (None, ControlFlow::Break(())) => {
                let (run, updates) = (folder.path().to_owned(), self.pupil.standing.updates);
                Err(TrainError::WarmStartInterrupted { run, updates, command })
            }
        }
    }
}

fn snapshot(pupil: &Pupil, text: Arc<TextFiles>) -> Snapshot {
    Snapshot {
        step: pupil.standing.updates,
        model: pupil.model.clone(),
        optimizer: pupil.optimizer.clone(),
        average: None,
        standing: Some(pupil.standing),
        dtype: StoredDtype::F32,
        text,
    }
}
