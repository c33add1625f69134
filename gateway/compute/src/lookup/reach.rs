//! Asking another gateway with a deadline, and remembering who was silent, so that a dead one costs one deadline and not
//! one an ask.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use causeway_model::Incarnation;
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::time::Instant;

use crate::port::{Answer, Ask, Map, Member, PeerError, Peers};

/// For how long a silent gateway is left alone by those who can do without it; it doubles while it is silent.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Reach {
    peers: Arc<dyn Peers>,
    deadline: Duration,
    silent: Mutex<HashMap<Incarnation, Silence>>,
    unanswered: IntCounter,
}

#[derive(Clone, Copy)]
struct Silence {
    until: Instant,
    pause: Duration,
}

impl Reach {
    pub(super) fn new(peers: Arc<dyn Peers>, deadline: Duration, unanswered: IntCounter) -> Arc<Self> {
        Arc::new(Self { peers, deadline, silent: Mutex::default(), unanswered })
    }

    /// Asks, whatever is known of the gateway. As many answers as asks.
    pub(super) async fn ask(&self, to: &Member, asks: Vec<Ask>) -> Result<Vec<Answer>, PeerError> {
        self.ask_within(self.deadline, to, asks).await
    }

    /// Asks a gateway that is to wait with its answer: it is not called silent for it.
    pub(super) async fn ask_within(
        &self,
        deadline: Duration,
        to: &Member,
        asks: Vec<Ask>,
    ) -> Result<Vec<Answer>, PeerError> {
        let count = asks.len();
        let gateway = to.name.clone();
        let answers = match tokio::time::timeout(deadline, self.peers.ask(to, asks)).await {
            Ok(Ok(answers)) if answers.len() == count => Ok(answers),
            Ok(Ok(_)) => Err(PeerError::Nonsense { gateway }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(PeerError::Silent { gateway, after: deadline }),
        };
        if let Err(error) = &answers {
            self.unanswered.inc();
            tracing::debug!(gateway = %to.name, %error, "no answer");
        }
        self.heard(to.incarnation, answers.is_ok());
        answers
    }

    /// Whether the gateway did not answer lately.
    pub(super) fn is_silent(&self, gateway: Incarnation) -> bool {
        self.silent_until(gateway).is_some_and(|until| Instant::now() < until)
    }

    /// Until when a gateway that did not answer is left alone.
    pub(super) fn silent_until(&self, gateway: Incarnation) -> Option<Instant> {
        self.silent.lock().get(&gateway).map(|silence| silence.until)
    }

    /// Forgets gateways that are gone.
    pub(super) fn follow(&self, map: &Map) {
        self.silent.lock().retain(|gateway, _| map.member(*gateway).is_some());
    }

    fn heard(&self, gateway: Incarnation, answered: bool) {
        let mut silent = self.silent.lock();
        if answered {
            silent.remove(&gateway);
            return;
        }
        let now = Instant::now();
        let known = silent.get(&gateway).copied();
        let pause = match known {
            // Others who asked at the same time: one silence.
            Some(silence) if now < silence.until => return,
            Some(silence) => (silence.pause * 2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        silent.insert(gateway, Silence { until: now + pause, pause });
    }
}
