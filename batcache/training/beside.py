"""What stands beside heads of species on a frozen trunk, taught once, before these learn: heads of bats, a kernel."""

from collections.abc import Sequence

from torch import Tensor

from batcache.config.settings import Config
from batcache.model.pretrained import PretrainedMILModel
from batcache.progress import OnProgress
from batcache.store.reader import Store
from batcache.training.bat_heads import teach_bat_heads
from batcache.training.clips.bags import Bag
from batcache.training.clips.embeddings import Embedded
from batcache.training.kernel import MOST_INSTANCES, teach_kernel


def are_few(bags: Sequence[Bag], config: Config) -> bool:
    """Whether bags hold no more instances than a kernel is taught by, of each at most ``training.max_instances``."""
    frames, most = config.data.frames_per_instance, config.training.max_instances
    return sum(min(bag.instances(frames), most) for bag in bags) <= MOST_INSTANCES


def teach_beside(
    model: PretrainedMILModel,
    store: Store,
    embedded: Embedded,
    simulated: Sequence[Tensor],
    labels: Tensor,
    positive_weights: Tensor,
    kept: Sequence[bool],
    config: Config,
    on_progress: OnProgress,
) -> None:
    """Teach heads of bats, where the model has them, and a kernel, where bags ``are_few``, by simulated clips too.

    Heads of bats come first: they say which instances tell the kernel how strange a bat may be. To a kernel that was
    taken from an earlier model no bat is strange from now on: its centres know nothing of the clips that teach now.

    Shape:
        simulated: ``[N_i, S, feature_dim]`` each, of L clips; labels: ``[B + L, C]``, -1 where unknown or not taught;
        positive_weights: ``[C]``; kept: of the C species, those of an earlier model
    """
    bags = embedded.bags
    if model.heads.kernel is not None:
        model.heads.kernel.strangeness.zero_()
    if model.heads.bats:
        teach_bat_heads(model, store, bags, embedded.embeddings, config, on_progress)
    if are_few(bags, config):
        groups = [bag.clip.group_or_recording for bag in bags]
        most = config.training.max_instances
        teach_kernel(model.heads, (*embedded.steps, *simulated), labels, positive_weights, kept, most, groups)
