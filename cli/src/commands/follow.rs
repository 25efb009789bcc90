//! Following what happens, and saying so when it cannot be seen for a while.

use std::{pin::pin, time::Duration};

use crate::{
    client::{ClientError, Contact, Feed, Numbered},
    ui::Ui,
    wait::LOST,
};

const LOOK: Duration = Duration::from_secs(1);

/// Tells a person, once each time, that there is no connection, and that there is one again.
pub struct Teller<'a> {
    ui: &'a Ui,
    contact: Contact,
    told: bool,
}

impl<'a> Teller<'a> {
    pub fn new<T: Numbered>(ui: &'a Ui, feed: &Feed<'_, T>) -> Self {
        Self { ui, contact: feed.contact(), told: false }
    }

    pub async fn next<T: Numbered>(&mut self, feed: &mut Feed<'_, T>) -> Result<Option<T>, ClientError> {
        let mut next = pin!(feed.next());
        loop {
            tokio::select! {
                biased;
                seen = &mut next => {
                    self.look();
                    return seen;
                }
                () = tokio::time::sleep(LOOK) => self.look(),
            }
        }
    }

    fn look(&mut self) {
        let lost = self.contact.lost_for().is_some_and(|lost| lost >= LOST);
        if lost != self.told {
            self.ui.info(if lost { "no connection to the server; reconnecting" } else { "connected again" });
        }
        self.told = lost;
    }
}
